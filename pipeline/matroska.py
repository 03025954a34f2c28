"""Damage between the frames of a Matroska or WebM file, where FFmpeg loses frames without an error and counts on.

Behind damage the demuxer goes on at the next cluster that it finds, and what it passed over has no time either. The
elements are walked here by their lengths alone (RFC 8794, EBML; RFC 9559, Matroska).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from pipeline.places import Stored

_EBML, _SEGMENT, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675
_GROUP, _SIMPLE_BLOCK, _BLOCK = 0xA0, 0xA3, 0xA1
_TRACK, _NUMBER, _TYPE, _CODEC = 0xAE, 0xD7, 0x83, 0x86
_OF_A_SEGMENT = (0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, _TRACKS, _CLUSTER)
_OF_A_CLUSTER = (0xE7, 0x5854, 0xA7, 0xAB, 0xAF, _SIMPLE_BLOCK, _GROUP)
_OF_A_GROUP = (_BLOCK, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8)
_KNOWN = {_EBML, _SEGMENT, 0xEC, 0xBF, *_OF_A_SEGMENT, *_OF_A_CLUSTER, *_OF_A_GROUP}
_ENTERED = (_SEGMENT, _CLUSTER, _GROUP)

_LONGEST_HEAD, _LARGEST_TRACKS = 12, 1 << 22
_VIDEO, _LACED = 1, 0x06


def stored(path: Path) -> Stored | None:
    """The blocks of the first video track; None if the file is no Matroska."""
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(4)) != _EBML:
            return None
        walk = _Walk(stream, path.stat().st_size)
        walk.go()
    return Stored(frames=walk.shown, whole=walk.whole, to_end=walk.to_end)


def hides_vp8(first_byte: int) -> bool:
    """Whether a packet of VP8 is a frame that is never shown, only referred to (RFC 6386, section 9.1)."""
    is_key, is_shown = not first_byte & 1, first_byte >> 4 & 1
    return not is_shown and not is_key


class _Element(NamedTuple):
    kind: int
    begin: int
    length: int | None
    """Of the content; None where it is not known before its end."""


class _Walk:
    """From element to element."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.shown, self.whole, self.to_end = 0, False, False
        self._stream, self._size = stream, size
        self._tracks: set[int] = set()
        self._video, self._is_vp8 = 0, False

    def go(self) -> None:
        """Up to the end, or to what is no element."""
        position, end, cluster_end = 0, self._size, self._size
        while position < end:
            element = _element(self._read(position, _LONGEST_HEAD), position)
            self.to_end = position + _LONGEST_HEAD > self._size
            if element is None or element.kind not in _KNOWN:
                return
            after = element.begin + (element.length or 0)
            if element.kind == _SEGMENT:
                end = cluster_end = after if element.length is not None else self._size
            elif element.kind == _CLUSTER:
                cluster_end = after if element.length is not None else end
            within = cluster_end if element.kind in (*_OF_A_CLUSTER, *_OF_A_GROUP) else end
            if after > within or not self._taken(element):
                return
            position = element.begin if element.kind in _ENTERED else after
        self.to_end, self.whole = True, end <= self._size

    def _read(self, position: int, length: int) -> bytes:
        self._stream.seek(position)
        return self._stream.read(length)

    def _taken(self, element: _Element) -> bool:
        """Counts a frame, and keeps the tracks. False for what cannot be."""
        if element.length is None:
            return element.kind in (_SEGMENT, _CLUSTER)
        if element.kind == _TRACKS:
            self._keep_tracks(self._read(element.begin, min(element.length, _LARGEST_TRACKS)))
        if element.kind in (_SIMPLE_BLOCK, _BLOCK):
            head = self._read(element.begin, _LONGEST_HEAD)
            number, at = _number(head, 0, keep_marker=False)
            if number not in self._tracks or len(head) < at + 4:
                return False
            if number == self._video:
                self.shown += not (self._is_vp8 and hides_vp8(head[at + 3]))
                return not head[at + 2] & _LACED
        return True

    def _keep_tracks(self, content: bytes) -> None:
        for entry in _children(content):
            if entry.kind != _TRACK or entry.length is None:
                continue
            found = dict(_values(content[entry.begin : entry.begin + entry.length]))
            number = int.from_bytes(found.get(_NUMBER, b""))
            self._tracks.add(number)
            if int.from_bytes(found.get(_TYPE, b"")) == _VIDEO and not self._video:
                self._video, self._is_vp8 = number, found.get(_CODEC, b"").rstrip(b"\0") == b"V_VP8"


def _number(content: bytes, at: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """A number of EBML's variable length and where it ends; None for one that is none or says "unknown"."""
    first = content[at] if at < len(content) else 0
    length = 9 - first.bit_length()
    if not first or at + length > len(content):
        return None, at + length
    value = int.from_bytes(content[at : at + length])
    if not keep_marker:
        value &= (1 << 7 * length) - 1
        if value == (1 << 7 * length) - 1:
            return None, at + length
    return value, at + length


def _element(head: bytes, position: int) -> _Element | None:
    kind, at = _number(head, 0, keep_marker=True)
    if kind is None or at >= len(head) or not head[at]:
        return None
    length, end = _number(head, at, keep_marker=False)
    return _Element(kind, position + end, length) if end <= len(head) else None


def _children(content: bytes) -> Iterator[_Element]:
    position = 0
    while position < len(content):
        element = _element(content[position : position + _LONGEST_HEAD], position)
        if element is None or element.length is None:
            return
        yield element
        position = element.begin + element.length


def _values(content: bytes) -> Iterator[tuple[int, bytes]]:
    for element in _children(content):
        yield element.kind, content[element.begin : element.begin + (element.length or 0)]
