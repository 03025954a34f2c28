"""OpenCV's decoder, opened on one file. `video` alone uses it.

Never opens another file than the one it is given: to FFmpeg a playlist is a video too.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import containers
from pipeline.contract import UserError
from pipeline.interlacing import may_be_interlaced

MAX_PIXELS = 64_000_000
"""Largest frame that is decoded; a small file can claim gigabytes. 8K has 33 million."""

_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_OPTIONS = "protocol_whitelist;file|format_whitelist;mov,avi,matroska,asf,mpeg,mpegts,mpegvideo"
"""FFmpeg's names of the containers that are opened: no pictures, no playlists; and nothing but local files."""

_FRAMES_THAT_DIFFER = 100
"""Among so many frames at the beginning two differ, or they are taken for ones that were never converted."""

_SQUARE, _MOST_STRETCH = 0.01, 4.0
"""Pixels are taken for square within this relative difference; beyond that factor the container is not believed."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """From the decoder's frames, which it has turned, to displayed ones."""

    size: tuple[int, int]
    turned: bool
    mirrored: bool

    @classmethod
    def of(cls, capture: cv2.VideoCapture, *, mirrored: bool = False) -> Self:
        """What an opened video declares; `mirrored` as `containers.display` says."""
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
def opened(path: Path, *properties: int) -> Iterator[cv2.VideoCapture]:
    """The decoder at the beginning of a video, in one thread.

    Args:
        path: the video.
        properties: of OpenCV's FFmpeg, each followed by its value.

    Raises:
        UserError: if the file is no video that can be opened, or claims frames larger than `MAX_PIXELS`.
    """
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
        width, height = Geometry.of(capture).size
        if width * height > MAX_PIXELS:
            raise UserError(f"{path.name}: claims frames of {width} x {height} pixels, more than {MAX_PIXELS}")
        yield capture
    finally:
        capture.release()


def check_interlacing(path: Path) -> None:
    """Refuses a video whose frames the decoder does not convert: it then gives the same memory again and again.

    Raises:
        UserError: for such a video, or as `opened`.
    """
    with opened(path, cv2.CAP_PROP_FORMAT, -1) as capture:
        if not capture.grab():
            return
        extra = capture.retrieve(flag=int(capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)))[1]
        head = b"".join(part.tobytes() for part in (extra, capture.retrieve()[1]) if part is not None)
        if not may_be_interlaced(int(capture.get(cv2.CAP_PROP_FOURCC)), head):
            return
    with opened(path) as capture:
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
