"""Damage between the frames of an ASF file (wmv), where FFmpeg loses frames without an error and counts on.

Packets have one size, and each frame is an object with a number of its own. They are walked here by what they say of
their lengths (Microsoft, "Advanced Systems Format Specification", 01.20.03, section 5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Self

from pipeline.times import Stored

_HEADER, _DATA, _FILE, _STREAM, _VIDEO = map(
    bytes.fromhex,
    (
        "3026b2758e66cf11a6d900aa0062ce6c",
        "3626b2758e66cf11a6d900aa0062ce6c",
        "a1dcab8c47a9cf118ee400c00c205365",
        "9107dcb7b7a9cf118ee600c00c205365",
        "c0ef19bc4d5bcf11a8fd00805f5c442b",
    ),
)
"""Kinds of objects, and of a stream."""

_LARGEST_HEADER, _LARGEST_PACKET = 1 << 22, 1 << 20
_BYTES = (0, 1, 2, 4)
"""Of a field, by the two bits that tell its length."""

_BYTE_NUMBERS, _FOUR_BYTES = 1 << 8, 1 << 32
_NO_END = 1 << 62
"""Of a file that was never finished."""

_SIZE_AND_TIME = 8
"""Bytes that are repeated with every part of a frame."""

_COMPRESSED = 1
"""Of them where a part holds several small frames."""


class _DamagedError(Exception):
    """A packet is not what it has to be."""


class _UnknownError(Exception):
    """A packet holds frames in a form that is not read here."""


def stored(path: Path) -> Stored | None:
    """The frames of the first video stream; None if the file is no ASF, or if none is found in the form read here."""
    with path.open("rb") as stream:
        if stream.read(16) != _HEADER:
            return None
        try:
            layout = _Layout.of(stream)
            frames, to_end = _walk(layout, stream)
        except (_DamagedError, _UnknownError):
            return None
    if not frames:
        return None
    whole = to_end and layout.end <= path.stat().st_size
    return Stored(frames=frames, whole=whole, to_end=to_end, declared_s=layout.lasts_s)


def _walk(layout: "_Layout", stream: IO[bytes]) -> tuple[int, bool]:
    """How many frames of the first video stream there are up to the end or the first damage; whether it is the end."""
    frames, number, size, there = 0, 0, 0, 0
    try:
        for packet in layout.packets(stream):
            for part in packet.parts(layout.video):
                if part.offset == 0:
                    if frames and (there != size or part.number != (number + 1) % _BYTE_NUMBERS):
                        return frames - 1, False
                    frames, number, size, there = frames + 1, part.number, part.size, 0
                if (part.number, part.offset, part.size) != (number, there, size):
                    return max(0, frames - 1), False
                there += part.length
    except _DamagedError:
        return frames, False
    return frames, True


class _Part(NamedTuple):
    """Of a frame: the frame's number and size, and where the part lies in it, in bytes."""

    number: int
    size: int
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Size of a packet, number of the first video stream, where the packets begin and end, and how long all lasts."""

    size: int
    video: int
    begin: int
    end: int
    lasts_s: float

    @classmethod
    def of(cls, stream: IO[bytes]) -> Self:
        stream.seek(16)
        length = int.from_bytes(stream.read(8), "little")
        stream.seek(0)
        head = stream.read(min(length, _LARGEST_HEADER) + 50)
        packet, video, lasts_s, position = 0, 0, 0.0, 30
        while position + 24 <= length <= len(head):
            listed = head[position:]
            if listed.startswith(_FILE):
                packet = int.from_bytes(listed[92:96], "little")
                lasts_s = int.from_bytes(listed[64:72], "little") / 1e7 - int.from_bytes(listed[80:88], "little") / 1e3
            if listed.startswith(_STREAM) and listed[24:40] == _VIDEO and not video:
                video = listed[72] & 0x7F
            position += max(int.from_bytes(listed[16:24], "little"), 24)
        data = head[length : length + 50]
        if data[:16] != _DATA or not 0 < packet <= _LARGEST_PACKET:
            raise _DamagedError
        size = int.from_bytes(data[16:24], "little")
        return cls(
            size=packet, video=video, begin=length + 50, end=length + size if size > 50 else _NO_END, lasts_s=lasts_s
        )

    def packets(self, stream: IO[bytes]) -> "Iterator[_Packet]":
        stream.seek(self.begin)
        for _ in range((self.end - self.begin) // self.size):
            content = stream.read(self.size)
            if len(content) < self.size:
                return
            yield _Packet(content)


class _Packet:
    """Reads from its first byte to its last."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def parts(self, video: int) -> Iterator[_Part]:
        """Those of the frames of a stream that are in here."""
        if self._content[0] & 0x80:
            if self._content[0] & 0x70:
                raise _DamagedError
            self._take(1 + (self._content[0] & 0x0F))
        lengths, fields = self._take(1), self._take(1)
        self._take_field(lengths >> 5)
        self._take_field(lengths >> 1)
        end = len(self._content) - self._take_field(lengths >> 3)
        self._take(6)
        several = self._take(1) if lengths & 1 else 0
        for _ in range(several & 0x3F if lengths & 1 else 1):
            stream = self._take(1) & 0x7F
            number, offset, known = (self._take_field(fields >> shift) for shift in (4, 2, 0))
            size = self._take(known) % _FOUR_BYTES
            length = self._take_field(several >> 6) if lengths & 1 else end - self._at
            if length <= 0 or self._at + length > end:
                raise _DamagedError
            self._at += length
            if stream == video and known >= _SIZE_AND_TIME:
                yield _Part(number % _BYTE_NUMBERS, size, offset, length)
            elif stream == video:
                raise _UnknownError if known in (0, _COMPRESSED) else _DamagedError
        if self._at != end:
            raise _DamagedError

    def _take_field(self, bits: int) -> int:
        return self._take(_BYTES[bits & 3])

    def _take(self, length: int) -> int:
        """The next bytes as a number, the least significant first."""
        part = self._content[self._at : self._at + length]
        if len(part) < length:
            raise _DamagedError
        self._at += length
        return int.from_bytes(part, "little")
