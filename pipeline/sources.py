"""Successive pictures of one scene: a video, a folder of pictures in the order of their names, or a stream of JPEGs."""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol

from pipeline import images, video
from pipeline.containers import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from pipeline.contract import UserError
from pipeline.images import DamagedPictureError, Image
from pipeline.times import FrameTimes

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

USUAL_FPS = 25.0

_DIGITS = re.compile(r"(\d+)")
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_CHUNK = 1 << 16


class Source(Protocol):
    """Pictures that can be gone through more than once."""

    @property
    def name(self) -> str:
        """For messages and file names."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second when shown."""
        ...

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        """Every picture with its index from 0, as `video.read_frames` gives them."""
        ...

    def expected(self) -> int:
        """How many there should be; 0 where that is not known."""
        ...


@dataclass(frozen=True)
class Video:
    """The frames of one video file."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def fps(self) -> float:
        """As the container declares; `USUAL_FPS` if it does not."""
        return video.probe(self.path).fps or USUAL_FPS

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        """As `video.read_frames`, as decoded."""
        return video.read_frames(self.path, wanted, times=self._times, as_decoded=True)

    def expected(self) -> int:
        """As `video.expected_frames`."""
        return video.expected_frames(self.path, self._times)

    @cached_property
    def _times(self) -> FrameTimes:
        return video.frame_times(self.path)


@dataclass(frozen=True)
class Pictures:
    """Pictures in files, upright after their EXIF orientation."""

    name: str
    paths: Sequence[Path]
    fps: float = USUAL_FPS

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        """Raises `UserError` naming a picture that cannot be read."""
        for index, path in enumerate(self.paths):
            if wanted is not None and index not in wanted:
                yield index, None
                continue
            try:
                yield index, images.decode_still(path.read_bytes(), upright=True)
            except DamagedPictureError as error:
                raise UserError(f"{path}: {error}; remove it or save it again as JPEG or PNG") from None

    def expected(self) -> int:
        """One a file."""
        return len(self.paths)


def source(path: Path) -> Source:
    """A file: a picture by its suffix, else a video."""
    return Pictures(path.stem, [path]) if path.suffix.lower() in PICTURE_SUFFIXES else Video(path)


def sources(path: Path) -> list[Source]:
    """What there is at a path: a video or picture; the videos of a folder; or its pictures, as one sequence.

    Raises:
        UserError: if there is nothing of the kind.
    """
    if path.is_file():
        return [source(path)]
    if not path.is_dir():
        raise UserError(f"{path} is neither a file nor a folder; name a video, a picture, or a folder of either")
    found = sorted((each for each in path.iterdir() if each.is_file()), key=_counting)
    videos = [each for each in found if each.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [each for each in found if each.suffix.lower() in PICTURE_SUFFIXES]
    if videos and pictures:
        raise UserError(f"{path} holds both videos and pictures; put them into two folders")
    if not videos and not pictures:
        raise UserError(
            f"{path} holds no video ({_listed(VIDEO_SUFFIXES)}) and no picture ({_listed(PICTURE_SUFFIXES)})"
        )
    return [Video(each) for each in videos] if videos else [Pictures(path.resolve().name, pictures)]


def told_lost(source: Source, decoded: int) -> str | None:
    """A line on the pictures of a source that cannot be decoded; None if all `decoded` ones are all there should be."""
    expected = source.expected()
    return f"{source.name}: {expected - decoded} of {expected} frames cannot be decoded" if decoded < expected else None


def spooled(stream: IO[bytes], folder: Path) -> Pictures:
    """Takes JPEGs that follow each other in a stream to its end, each into a file of `folder`.

    Raises:
        UserError: if there is none.
    """
    paths: list[Path] = []
    for content in _split(stream):
        paths.append(folder / f"{len(paths):08d}.jpg")
        paths[-1].write_bytes(content)
    if not paths:
        raise UserError("the standard input holds no JPEG; send pictures one after another (MJPEG)")
    return Pictures("stream", paths)


def _split(stream: IO[bytes]) -> Iterator[bytes]:
    """JPEGs out of a stream: each ends where the next begins, so that thumbnails inside one do not cut it."""
    waiting = b""
    while chunk := stream.read(_CHUNK):
        waiting += chunk
        while (cut := waiting.find(_END + _START)) >= 0:
            yield waiting[max(0, waiting.find(_START)) : cut + 2]
            waiting = waiting[cut + 2 :]
    start, end = waiting.find(_START), waiting.rfind(_END)
    if 0 <= start < end:
        yield waiting[start : end + 2]


def _counting(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(path.name)]


def _listed(suffixes: Set[str]) -> str:
    return ", ".join(sorted(suffixes))
