"""Sequential, upright frames of one video. The only user of the decoder.

Never seeks: seeking by frame number is wrong on variable-frame-rate video. Never opens another file than the one it is
given: to FFmpeg a playlist is a video too.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import containers
from pipeline.contract import UserError
from pipeline.places import Places

Image = NDArray[np.uint8]
"""RGB picture, height x width x 3."""

MAX_PIXELS = 64_000_000
"""Largest frame that is decoded; a small file can claim gigabytes. 8K has 33 million."""

_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_OPTIONS = "protocol_whitelist;file|format_whitelist;mov,avi,matroska,asf,mpeg,mpegts,mpegvideo"
"""FFmpeg's names of the containers that are opened: no pictures, no playlists; and nothing but local files."""

_PATIENCE = 100
"""Failures in a row that are borne where the container does not tell how many frames are to come."""

_SQUARE, _MOST_STRETCH = 0.01, 4.0
"""Pixels are taken for square within this relative difference; beyond that factor the container is not believed."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a container declares. Sizes are as displayed, after its rotation; `declared_frames` may be wrong or 0."""

    width: int
    height: int
    fps: float
    declared_frames: int


def probe(path: Path) -> VideoInfo:
    """Reads a container's header.

    Raises:
        UserError: if the file is not a video that can be opened, or claims frames larger than `MAX_PIXELS`.
    """
    with _opened(path) as capture:
        width, height = _Geometry.of(capture).size
        return VideoInfo(
            width=width,
            height=height,
            fps=round(float(capture.get(cv2.CAP_PROP_FPS)), 3),
            declared_frames=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
        )


def frame_times(path: Path) -> list[float]:
    """When each frame is to be shown, in ms, sorted, by the container alone: nothing is decoded.

    As many as the video has frames, damaged ones too, even where the declared number is an estimate. Empty where the
    container does not say: if its edit list skips frames, or if it cannot be gone through.

    Raises:
        UserError: as `probe`.
    """
    if containers.display(path).skips_frames:
        return []
    times = []
    with _opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        failures = 0
        while failures < _PATIENCE:
            if capture.grab():
                times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
                failures = 0
            else:
                failures += 1
    return sorted(times)


def read_frames(
    path: Path, wanted: Set[int] | None = None, *, times: Sequence[float] | None = None
) -> Iterator[tuple[int, Image | None]]:
    """Decodes a video from its first to its last frame.

    A frame that cannot be decoded is left out, and the frames behind it keep their numbers; where these cannot be known
    (see `Places`) the video ends there.

    Args:
        path: the video.
        wanted: frame indices whose pictures are needed; None means all.
        times: its `frame_times`, if they are known already.

    Yields:
        (frame index from 0, RGB picture), the picture None where it was not wanted. Every frame is decoded.

    Raises:
        UserError: as `probe`.
    """
    times = frame_times(path) if times is None else times
    places, mirrored = Places(times), containers.display(path).mirrored
    with _opened(path) as capture:
        geometry, taken, failures = _Geometry.of(capture, mirrored=mirrored), 0, 0
        while failures <= max(_PATIENCE, len(times) - taken):
            taken += 1
            if not capture.grab():
                failures += 1
                continue
            if failures:
                places.fail()
            failures = 0
            frame_index = places.take(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
            if frame_index is None:
                return
            picture = None
            if wanted is None or frame_index in wanted:
                decoded, bgr = capture.retrieve()
                if not decoded:
                    failures = 1
                    continue
                picture = geometry.displayed(bgr)
            yield frame_index, picture


@dataclass(frozen=True, kw_only=True)
class _Geometry:
    """From the decoder's frames, which it has turned, to displayed ones."""

    size: tuple[int, int]
    turned: bool
    mirrored: bool

    @classmethod
    def of(cls, capture: cv2.VideoCapture, *, mirrored: bool = False) -> Self:
        width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        turned = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
        stretch = across / down if across > 0 and down > 0 else 1.0
        if abs(stretch - 1) <= _SQUARE or not 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH:
            stretch = 1.0
        size = (width, round(height * stretch)) if turned else (round(width * stretch), height)
        return cls(size=size, turned=turned, mirrored=mirrored)

    def displayed(self, bgr: NDArray[Any]) -> Image:
        """The frame as RGB with square pixels. The decoder takes a mirrored display for a turned one."""
        if self.mirrored:
            bgr = cv2.flip(bgr, 1 if self.turned else 0)
        if bgr.shape[1::-1] != self.size:
            shrunk = bgr.shape[1] * bgr.shape[0] > self.size[0] * self.size[1]
            bgr = cv2.resize(bgr, self.size, interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


@contextlib.contextmanager
def _opened(path: Path, *properties: int) -> Iterator[cv2.VideoCapture]:
    _check_file(path)
    before = os.environ.get(_FFMPEG)
    os.environ[_FFMPEG] = _FFMPEG_OPTIONS
    try:
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1, *properties])
    finally:
        if before is None:
            del os.environ[_FFMPEG]
        else:
            os.environ[_FFMPEG] = before
    try:
        if not capture.isOpened():
            raise UserError(f"{path.name}: not a video that can be opened: {containers.told(path)}")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = _Geometry.of(capture).size
        if width * height > MAX_PIXELS:
            raise UserError(f"{path.name}: claims frames of {width} x {height} pixels, more than {MAX_PIXELS}")
        yield capture
    finally:
        capture.release()


def _check_file(path: Path) -> None:
    """Only what can be read like a file reaches the decoder; a pipe would be waited for."""
    try:
        str(path.absolute()).encode()
        if not path.is_file():
            raise UserError(f"{path.name}: not a file (a folder, a pipe, or a link to nothing)")
        with path.open("rb"):
            pass
    except UnicodeEncodeError:
        raise UserError(f"{os.fsencode(path.name)!r}: the bytes of its path are not UTF-8; rename it") from None
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror})") from None
