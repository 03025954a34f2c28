"""Damage between the frames of an AVI, where FFmpeg loses frames without an error and counts on.

An AVI gives frames no times. If the header of a frame's chunk is damaged, the demuxer goes on at the next one that it
finds, and all frames behind have too low a number. The chunks are walked here by their lengths alone (Microsoft, "AVI
RIFF File Reference"; OpenDML's further RIFFs too).
"""

import re
from pathlib import Path
from typing import IO

from pipeline.times import Stored

_HEAD = 1 << 22

_AVI, _MOVI = re.compile(rb"RIFF....AVI ", re.DOTALL), re.compile(rb"LIST....movi", re.DOTALL)
_LISTS = (b"movi", b"rec ", b"AVIX")
_OTHERS = re.compile(rb"JUNK|idx1|indx|ix\d\d|RIFF|LIST")
_OF_A_STREAM = re.compile(rb"(\d\d)([0-9A-Za-z]{2})")
_PICTURES, _SOUND_AND_TEXT = (b"dc", b"db", b"pc"), (b"wb", b"tx", b"sb")


def stored(path: Path) -> Stored | None:
    """The chunks of the first video stream; None if the file is no AVI."""
    with path.open("rb") as stream:
        if not _AVI.match(stream.read(12)):
            return None
        head = stream.read(_HEAD)
        if (movi := _MOVI.search(head)) is None:
            return None
        walk = _Walk(stream, path.stat().st_size, streams=head[: movi.start()].count(b"strh"))
        frames, whole = walk.frames_from(12 + movi.end())
    return Stored(frames=frames, whole=whole, to_end=whole)


class _Walk:
    """From chunk to chunk."""

    def __init__(self, stream: IO[bytes], size: int, *, streams: int) -> None:
        self._stream, self._size, self._streams = stream, size, streams
        self._kinds: dict[bytes, tuple[bytes, ...]] = {}
        """Of each stream, what its chunks may be called: as is usual, or as its first one is."""
        self._video = b""

    def frames_from(self, position: int) -> tuple[int, bool]:
        """How many chunks of pictures there are up to the end or to the first damage; whether it is the end."""
        frames, odd = 0, False
        while position + 8 <= self._size:
            kind, length, listed = self._header(position)
            if not self._is_known(kind) and odd:  # some programs write no byte to fill up
                position -= 1
                kind, length, listed = self._header(position)
            if not self._is_known(kind):
                return frames, False
            if kind in (b"RIFF", b"LIST") and listed in _LISTS:
                position, odd = position + 12, False
                continue
            frames += kind[:2] == self._video and kind[2:] != b"pc" and length > 0
            odd = length % 2 == 1
            position += 8 + length + odd
        return frames, position <= self._size + odd

    def _header(self, position: int) -> tuple[bytes, int, bytes]:
        self._stream.seek(position)
        head = self._stream.read(12)
        return head[:4], int.from_bytes(head[4:8], "little"), head[8:]

    def _is_known(self, kind: bytes) -> bool:
        if _OTHERS.fullmatch(kind):
            return True
        match = _OF_A_STREAM.fullmatch(kind)
        if not match or int(match[1]) >= self._streams:
            return False
        known = self._kinds.setdefault(match[1], (*_PICTURES, match[2]))
        if match[2] in _SOUND_AND_TEXT:
            return known[-1] == match[2]
        self._video = self._video or match[1]
        return match[2] in known
