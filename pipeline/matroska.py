"""Damage between the frames of a Matroska or WebM file, where FFmpeg loses frames without an error and counts on.

Behind damage the demuxer goes on at the next cluster that it finds, and what it passed over has no time either. The
elements are walked here by their lengths alone (RFC 8794, EBML; RFC 9559, Matroska).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from pipeline.times import Stored

_ROOT, _EBML, _SEGMENT, _TRACKS, _CLUSTER = 0, 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675
_TIME, _GROUP, _SIMPLE_BLOCK, _BLOCK = 0xE7, 0xA0, 0xA3, 0xA1
_TRACK, _NUMBER, _TYPE, _CODEC, _ENCODINGS = 0xAE, 0xD7, 0x83, 0x86, 0x6D80
_ANYWHERE = {0xEC, 0xBF}
_WITHIN = {
    _ROOT: {_EBML, _SEGMENT},
    _SEGMENT: {0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, _TRACKS, _CLUSTER},
    _CLUSTER: {_TIME, 0x5854, 0xA7, 0xAB, 0xAF, _SIMPLE_BLOCK, _GROUP},
    _GROUP: {_BLOCK, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8},
}
"""The elements of each that is entered."""

_NUMBERS, _LONGEST_NUMBER = (_TIME, 0xA7, 0xAB), 8
_ENDLESS = 1 << 62
_LONGEST_HEAD, _LARGEST_TRACKS = 12, 1 << 22
_VIDEO, _LACED = 1, 0x06


def stored(path: Path) -> Stored | None:
    """The blocks of the first video track; None if the file is no Matroska, or of a form that is not read here."""
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(4)) != _EBML:
            return None
        walk = _Walk(stream, path.stat().st_size)
        walk.go()
    return Stored(frames=walk.shown, whole=walk.whole, to_end=walk.to_end) if walk.is_known else None


def hides_vp8(first_byte: int) -> bool:
    """Whether a packet of VP8 begins as a frame does that is never shown, only referred to (RFC 6386, section 9.1).

    Key frames are taken for shown ones: zeroed bytes would be a hidden one. Encoders give a hidden frame the time of a
    shown one, or the next moment of the container; others are damaged.
    """
    is_key, is_shown = not first_byte & 1, first_byte >> 4 & 1
    return not is_shown and not is_key


class _Element(NamedTuple):
    kind: int
    begin: int
    length: int | None
    """Of the content; None where it is not known before its end."""


class _Parent(NamedTuple):
    kind: int
    end: int
    is_open: bool
    """Whether it ends where its parent's next element begins."""


class _Walk:
    """From element to element."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.whole = self.to_end = False
        self.is_known = True
        self._stream, self._size = stream, size
        self._tracks: set[int] = set()
        self._video, self._is_vp8, self._time = 0, False, 0
        self._shown: list[int] = []
        self._hidden: list[int] = []
        self._parents = [_Parent(_ROOT, _ENDLESS, is_open=False)]

    @property
    def shown(self) -> int:
        """How many frames of the first video track were met that are shown."""
        near = {time + step for time in self._shown for step in (-1, 0, 1)} if self._hidden else set()
        return len(self._shown) + sum(time not in near for time in self._hidden)

    def go(self) -> None:
        """Up to the end, or to what is no element. Damage before the first cluster is not looked behind."""
        position, segment_end, clusters = 0, _ENDLESS, 0
        while position < min(self._size, segment_end):
            element = self._element(position)
            self.to_end = position + _LONGEST_HEAD > self._size
            if element is None or (after := self._after(element)) is None or not self._taken(element):
                self.is_known = self.is_known and clusters > 0
                return
            if element.kind in _WITHIN:
                self._parents.append(_Parent(element.kind, after, is_open=element.length is None))
                clusters += element.kind == _CLUSTER
                segment_end = after if element.kind == _SEGMENT else segment_end
            position = element.begin if element.kind in _WITHIN else after
        self.to_end, self.whole = True, (position if segment_end == _ENDLESS else segment_end) <= self._size

    def _element(self, position: int) -> _Element | None:
        return _element(self._read(position, _LONGEST_HEAD), position)

    def _after(self, element: _Element) -> int | None:
        """Where an element ends; None if it cannot be where it is."""
        while element.begin > self._parents[-1].end:
            self._parents.pop()
        while self._parents[-1].is_open and any(element.kind in _WITHIN[each.kind] for each in self._parents[:-1]):
            self._parents.pop()
        parent = self._parents[-1]
        if element.length is None:
            return parent.end if element.kind in (_SEGMENT, _CLUSTER) else None
        after, allowed = element.begin + element.length, _WITHIN[parent.kind] | _ANYWHERE
        if after > parent.end or (element.kind in _NUMBERS and element.length > _LONGEST_NUMBER):
            return None
        if element.kind in allowed:
            return after
        following = self._element(after)
        is_new = element.kind > 0xFF and not any(element.kind in each for each in _WITHIN.values())
        return after if is_new and following is not None and following.kind in allowed else None

    def _read(self, position: int, length: int) -> bytes:
        self._stream.seek(min(position, self._size))
        return self._stream.read(length)

    def _taken(self, element: _Element) -> bool:
        """Counts a frame, and keeps the tracks. False for what cannot be."""
        length = element.length or 0
        if element.kind == _TRACKS:
            self._keep_tracks(self._read(element.begin, min(length, _LARGEST_TRACKS)))
        elif element.kind == _TIME:
            self._time = int.from_bytes(self._read(element.begin, length))
        elif element.kind in (_SIMPLE_BLOCK, _BLOCK):
            head = self._read(element.begin, _LONGEST_HEAD)
            number, at = _number(head, 0, keep_marker=False)
            if number not in self._tracks or len(head) < at + 4:
                return False
            return number != self._video or self._counted(head[at:])
        return True

    def _counted(self, head: bytes) -> bool:
        """Takes a block of the video: its time, its flags, and the first byte of its frame."""
        if head[2] & _LACED:  # several frames in a block, which nobody writes for video
            self.is_known = bool(self._shown)
            return False
        time = self._time + int.from_bytes(head[:2], signed=True)
        (self._hidden if self._is_vp8 and hides_vp8(head[3]) else self._shown).append(time)
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
                self.is_known = not (self._is_vp8 and _ENCODINGS in found)


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
