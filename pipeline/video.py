"""Sequential, upright frames of one video. The only user of the decoder.

Never seeks: seeking by frame number is wrong on variable-frame-rate video. Never opens another file than the one it is
given: to FFmpeg a playlist is a video too.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import containers, riff
from pipeline.contract import UserError
from pipeline.images import Image
from pipeline.interlacing import may_be_interlaced
from pipeline.places import Places, completed

MAX_PIXELS = 64_000_000
"""Largest frame that is decoded; a small file can claim gigabytes. 8K has 33 million."""

_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_OPTIONS = "protocol_whitelist;file|format_whitelist;mov,avi,matroska,asf,mpeg,mpegts,mpegvideo"
"""FFmpeg's names of the containers that are opened: no pictures, no playlists; and nothing but local files."""

_PATIENCE = 100
"""Failures in a row that are borne where the container does not tell how many frames are to come."""

_FRAMES_THAT_DIFFER = 100
"""Among so many frames at the beginning two differ, or they are taken for ones that were never converted."""

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
        UserError: if the file is no video that can be opened, claims frames larger than `MAX_PIXELS`, or is interlaced.
    """
    _check_interlacing(path)
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

    As many as are in the file, damaged ones too. Empty where that is not known: if the edit list skips frames, or if
    not all can be found and neither a counted number nor a constant rate tells of the others.

    Raises:
        UserError: as `probe`.
    """
    if containers.display(path).skips_frames:
        return []
    times, failures, complete = [], 0, True
    with _opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        while failures < _PATIENCE:
            if capture.grab():
                times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
                complete, failures = complete and not failures, 0
            else:
                failures += 1
    if complete:
        return sorted(times)
    counted = fps > 0 and containers.counts_frames(path)
    return completed(sorted(times), count=count, interval=1000 / fps) if counted else []


def expected_frames(path: Path, times: Sequence[float]) -> int:
    """How many frames the container promises, found in the file or not; 0 where it does not say.

    Some containers count their frames. Of others only the duration is known: more are expected than there are `times`
    if the last one is further from the end than frames are from each other. In MPEG streams all gaps are losses.

    Raises:
        UserError: as `probe`.
    """
    info = probe(path)
    if len(times) > 1 and info.fps > 0 and containers.has_constant_rate(path):
        return max(len(times), round((times[-1] - times[0]) * info.fps / 1000) + 1)
    if not times or info.declared_frames <= len(times) or not info.fps > 0:
        return len(times)
    frame_ms = 1000 / info.fps
    widest_ms = max((after - before for before, after in itertools.pairwise(times)), default=frame_ms)
    missing_ms = frame_ms * info.declared_frames - times[-1]
    cut = containers.counts_frames(path) or missing_ms > 1.5 * max(frame_ms, widest_ms)
    return info.declared_frames if cut else len(times)


def read_frames(
    path: Path, wanted: Set[int] | None = None, *, times: Sequence[float] | None = None, as_decoded: bool = False
) -> Iterator[tuple[int, Image | None]]:
    """Decodes a video from its first to its last frame.

    A frame that cannot be decoded is left out, and the frames behind it keep their numbers; where these cannot be known
    (see `Places`) the video ends there.

    Args:
        path: the video.
        wanted: frame indices whose pictures are needed; None means all.
        times: its `frame_times`, if they are known already.
        as_decoded: leaves pictures BGR in memory and gives reversed views, instead of converting all of every frame.

    Yields:
        (frame index from 0, RGB picture), the picture None where it was not wanted. Every frame is decoded.

    Raises:
        UserError: as `probe`.
    """
    _check_interlacing(path)
    times = frame_times(path) if times is None else times
    mirrored = containers.display(path).mirrored
    with _opened(path) as capture:
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        places = Places(times, most=riff.certain_frames(path, found=len(times), declared=declared))
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
                bgr = geometry.displayed(bgr)
                picture = (
                    bgr[..., ::-1] if as_decoded else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                )
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

    def displayed(self, bgr: NDArray[Any]) -> NDArray[np.uint8]:
        """The frame, BGR still, with square pixels. The decoder takes a mirrored display for a turned one."""
        if self.mirrored:
            bgr = cv2.flip(bgr, 1 if self.turned else 0)
        if bgr.shape[1::-1] != self.size:
            shrunk = bgr.shape[1] * bgr.shape[0] > self.size[0] * self.size[1]
            bgr = cv2.resize(bgr, self.size, interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR)
        return bgr.astype(np.uint8, copy=False)


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
        if not capture.isOpened() or containers.is_still(path):
            raise UserError(f"{path.name}: not a video that can be opened: {containers.told(path)}")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = _Geometry.of(capture).size
        if width * height > MAX_PIXELS:
            raise UserError(f"{path.name}: claims frames of {width} x {height} pixels, more than {MAX_PIXELS}")
        yield capture
    finally:
        capture.release()


def _check_interlacing(path: Path) -> None:
    """Refuses a video whose frames the decoder does not convert: it then gives the same memory again and again."""
    with _opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        if not capture.grab():
            return
        extra = capture.retrieve(flag=int(capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)))[1]
        head = b"".join(part.tobytes() for part in (extra, capture.retrieve()[1]) if part is not None)
        if not may_be_interlaced(int(capture.get(cv2.CAP_PROP_FOURCC)), head):
            return
    with _opened(path) as capture:
        pictures = (capture.read()[1] for _ in range(_FRAMES_THAT_DIFFER))
        found = (picture for picture in pictures if picture is not None)
        if any(not np.array_equal(one, other) for one, other in itertools.pairwise(found)):
            return
    raise UserError(f"{path.name}: interlaced; deinterlace it first: ffmpeg -i IN -vf yadif -crf 17 OUT")


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
