"""What a file is, by its own bytes: kinds that are no video, and what an mp4 or mov says about showing its frames.

Only headers are read, and nothing is decoded. A damaged header answers like one that says nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".wmv", ".mpg", ".mpeg"})
"""Of the containers that are read; their content decides."""

_HEAD = 4096
_MOST_BOXES = 10_000
_MOST_EDITS, _MOST_RUNS = 1_000, 1_000_000
_ISO_FILES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_MATROSKA = b"\x1a\x45\xdf\xa3"
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
        if is_still(path):
            return "it is a HEIF or AVIF picture"
        if head[4:8] in _ISO_FILES:
            if not any(kind == b"moov" for kind, _, _ in _boxes(stream, 0, size)):
                return "cut short: the index (moov) that its frames are found by is missing"
            return "damaged, or without a video track"
    if head.startswith((_MATROSKA, b"\x30\x26\xb2\x75", b"\0\0\1\xba", b"\0\0\1\xb3", b"RIFF")):
        return "damaged, or without a video track"
    if not any(byte < 9 for byte in head):
        return "it is text"
    return "of no known kind"


def is_still(path: Path) -> bool:
    """Whether a file is a picture in an mp4's clothes, which FFmpeg takes for a video of one frame."""
    with path.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:] in _STILLS


def counts_frames(path: Path) -> bool:
    """Whether a container states the number of its frames (mp4 and mov in one piece, avi) and not only its duration."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[4:8] in _ISO_FILES:
            return not _is_fragmented(stream, path.stat().st_size)
    return (head[:4], head[8:]) == (b"RIFF", b"AVI ")


def is_whole_in_pieces(path: Path) -> bool:
    """Whether a file is an mp4 that is written in pieces, and none of them is cut."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(8)[4:] not in _ISO_FILES or not _is_fragmented(stream, size):
            return False
        *_, (_, begin, _) = _boxes(stream, 0, size)
        stream.seek(begin - 8)
        return begin - 8 + int.from_bytes(stream.read(4)) == size


def _is_fragmented(stream: IO[bytes], size: int) -> bool:
    return bool(_children(stream, (b"", 0, size), b"moov", b"mvex"))


def is_matroska(path: Path) -> bool:
    """Whether a file is Matroska or WebM."""
    with path.open("rb") as stream:
        return stream.read(4) == _MATROSKA


def states_times(path: Path) -> bool:
    """Whether a container states when each of its frames is shown (mp4, mov, Matroska, WebM)."""
    with path.open("rb") as stream:
        return stream.read(8)[4:] in _ISO_FILES or is_matroska(path)


def has_constant_rate(path: Path) -> bool:
    """Whether a file is an MPEG program or transport stream, in which a gap between frames means lost ones."""
    with path.open("rb") as stream:
        head = stream.read(189)
    return head.startswith((b"\0\0\1\xba", b"\0\0\1\xb3")) or (head[:1] == b"G" and head[188:] == b"G")


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
                if (found := _display_of(stream, track, _timescale(stream, mvhd))) is not None:
                    return found
    except (OSError, ValueError, IndexError, ZeroDivisionError, struct.error):
        pass
    return Display()


_Box = tuple[bytes, int, int]
"""Kind of an ISO box, and where its content begins and ends."""


def _boxes(stream: IO[bytes], begin: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST_BOXES):
        if begin + 8 > end:
            return
        stream.seek(begin)
        header = stream.read(16)
        if len(header) < 8:
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


def _timescale(stream: IO[bytes], box: _Box) -> int:
    """Ticks a second of an `mvhd` or `mdhd` box."""
    content = _content(stream, box, 24)
    return int.from_bytes(content[20:24] if content[0] == 1 else content[12:16])


def _display_of(stream: IO[bytes], track: _Box, movie_scale: int) -> Display | None:
    """None if the track is no video."""
    (handler,) = _children(stream, track, b"mdia", b"hdlr")[:1]
    if _content(stream, handler, 12)[8:12] != b"vide":
        return None
    (header,) = _children(stream, track, b"tkhd")[:1]
    content = _content(stream, header, 96)
    a, b, _, c, d = struct.unpack_from(">5i", content, 52 if content[0] == 1 else 40)
    (times,) = _children(stream, track, b"mdia", b"mdhd")[:1]
    skips = _skips_frames(stream, track, _timescale(stream, times), movie_scale)
    return Display(mirrored=a * d - b * c < 0, skips_frames=skips)


def _skips_frames(stream: IO[bytes], track: _Box, scale: int, movie_scale: int) -> bool:
    """Whether the edit list leaves out some of the media. Its lengths are in ticks of the movie, rounded to them."""
    edits = [(length, start) for length, start in _edits(stream, track) if start >= 0]
    if not edits or any(length == 0 for length, _ in edits):  # 0: all there is, in files that are written in pieces
        return False
    if len(edits) > 1:
        return True
    (length, start), rounding = edits[0], -(-scale // movie_scale)
    first, end = _media_span(stream, track)
    return start > first + rounding or start + length * scale // movie_scale + rounding < end


def _edits(stream: IO[bytes], track: _Box) -> list[tuple[int, int]]:
    """Length and start of each edit; a start of −1 is a pause."""
    found = []
    for box in _children(stream, track, b"edts", b"elst")[:1]:
        content = _content(stream, box, 8 + 20 * _MOST_EDITS)
        layout, step = (">Qq", 20) if content[0] == 1 else (">Ii", 12)
        count = min(int.from_bytes(content[4:8]), _MOST_EDITS)
        found = [struct.unpack_from(layout, content, 8 + step * edit) for edit in range(count)]
    return [(length, start) for length, start in found]


def _media_span(stream: IO[bytes], track: _Box) -> tuple[int, int]:
    """When the first frame of a track begins, and when the last one ends, in its ticks."""
    table = (b"mdia", b"minf", b"stbl")
    (durations,) = _children(stream, track, *table, b"stts")[:1]
    content = _content(stream, durations, 8 + 8 * _MOST_RUNS)[8:]
    length = sum(count * ticks for count, ticks in struct.iter_unpack(">II", content[: len(content) // 8 * 8]))
    first = 0
    for offsets in _children(stream, track, *table, b"ctts")[:1]:
        first = int.from_bytes(_content(stream, offsets, 16)[12:16], signed=True)
    return first, first + length
