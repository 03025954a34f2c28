"""What a file is, by its own bytes: kinds that are no video, and what an mp4 or mov says about showing its frames.

Only headers are read, and nothing is decoded. A damaged header answers like one that says nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_HEAD = 4096
_MOST_BOXES = 10_000
_MOST_EDITS = 1_000
_ISO_FILES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_NO_VIDEOS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"#EXTM3U", "a playlist; what it names is never opened"),
    (b"ffconcat", "a playlist; what it names is never opened"),
    (b"<?xml", "an XML text"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"OggS", "an Ogg file, which is not read"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)


def told(path: Path) -> str:
    """What a file seems to be that is not opened as a video: a few words for the user."""
    size = path.stat().st_size
    if not size:
        return "it is empty"
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        for begin, kind in _NO_VIDEOS:
            if head.startswith(begin):
                return f"it is {kind}"
        if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
            return "it is a WebP picture" if head[8:12] == b"WEBP" else "it is sound"
        if head[4:8] in _ISO_FILES:
            if head[4:8] == b"ftyp" and head[8:12] in _STILLS:
                return "it is a HEIF or AVIF picture"
            if not any(kind == b"moov" for kind, _, _ in _boxes(stream, 0, size)):
                return "cut short: the index (moov) that its frames are found by is missing"
            return "damaged, or without a video track"
    if head.startswith((b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"\0\0\1\xba", b"\0\0\1\xb3", b"RIFF")):
        return "damaged, or without a video track"
    if not any(byte < 9 for byte in head):
        return "it is text"
    return "of no known kind"


@dataclass(frozen=True, kw_only=True)
class Display:
    """What an mp4 or mov says about showing its video: whether mirrored, and whether frames are skipped."""

    mirrored: bool = False
    skips_frames: bool = False


def display(path: Path) -> Display:
    """Reads the display matrix and the edit list of the first video track; other containers have neither."""
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            if stream.read(8)[4:] not in _ISO_FILES:
                return Display()
            (moov,) = _children(stream, (b"", 0, size), b"moov")[:1]
            (mvhd,) = _children(stream, moov, b"mvhd")[:1]
            for track in _children(stream, moov, b"trak"):
                if (found := _display_of(stream, track, _ticks(stream, mvhd)[0])) is not None:
                    return found
    except (OSError, ValueError, struct.error):
        pass
    return Display()


_Box = tuple[bytes, int, int]
"""Kind of an ISO box, and where its content begins and ends."""


def _boxes(stream: IO[bytes], begin: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST_BOXES):
        stream.seek(begin)
        header = stream.read(16)
        if begin + 8 > end or len(header) < 8:
            return
        size, kind = struct.unpack_from(">I4s", header)
        content = 8
        if size == 1 and len(header) == 16:
            (size,), content = struct.unpack_from(">Q", header, 8), 16
        length = end - begin if size == 0 else size
        if length < content:
            return
        yield kind, begin + content, min(end, begin + length)
        begin += length


def _children(stream: IO[bytes], parent: _Box, *kinds: bytes) -> list[_Box]:
    """Boxes of the last of `kinds`, found by going down through the others."""
    found = [parent]
    for kind in kinds:
        found = [box for _, begin, end in found for box in _boxes(stream, begin, end) if box[0] == kind]
    return found


def _content(stream: IO[bytes], box: _Box, most: int) -> bytes:
    stream.seek(box[1])
    return stream.read(min(most, box[2] - box[1]))


def _ticks(stream: IO[bytes], box: _Box) -> tuple[int, int]:
    """Time scale (ticks a second) and duration (ticks) of an `mvhd` or `mdhd` box."""
    content = _content(stream, box, 36)
    layout, at = (">IQ", 20) if content[0] == 1 else (">II", 12)
    scale, duration = struct.unpack_from(layout, content, at)
    return scale, duration


def _display_of(stream: IO[bytes], track: _Box, movie_scale: int) -> Display | None:
    """None if the track is no video."""
    (handler,) = _children(stream, track, b"mdia", b"hdlr")[:1]
    if _content(stream, handler, 12)[8:12] != b"vide":
        return None
    (header,) = _children(stream, track, b"tkhd")[:1]
    content = _content(stream, header, 96)
    a, b, _, c, d = struct.unpack_from(">5i", content, 52 if content[0] == 1 else 40)
    (times,) = _children(stream, track, b"mdia", b"mdhd")[:1]
    scale, duration = _ticks(stream, times)
    shown = _shown_ticks(stream, track)
    skips = shown is not None and (shown + 1) * scale < duration * movie_scale  # its ticks are coarser: rounded
    return Display(mirrored=a * d - b * c < 0, skips_frames=skips)


def _shown_ticks(stream: IO[bytes], track: _Box) -> int | None:
    """How much of its media a track's edit list shows, in ticks of the movie; None if there is no edit list."""
    lists = _children(stream, track, b"edts", b"elst")
    if not lists:
        return None
    content = _content(stream, lists[0], 8 + 20 * _MOST_EDITS)
    (count,) = struct.unpack_from(">I", content, 4)
    layout, length = (">Qq", 20) if content[0] == 1 else (">Ii", 12)
    edits = [struct.unpack_from(layout, content, 8 + length * i) for i in range(min(count, _MOST_EDITS))]
    if any(ticks == 0 for ticks, _ in edits):  # shows all there is, as in files that are written piece by piece
        return None
    return sum(int(ticks) for ticks, start in edits if start >= 0)
