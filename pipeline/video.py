"""Sequential, upright frames of one video. The only user of the decoder.

Never seeks: seeking by frame number is wrong on variable-frame-rate video.
"""

import contextlib
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.contract import UserError

Image = NDArray[np.uint8]
"""RGB picture, height x width x 3."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a container declares. Sizes are upright, after its rotation; `declared_frames` may be wrong or 0."""

    width: int
    height: int
    fps: float
    declared_frames: int


def probe(path: Path) -> VideoInfo:
    """Reads a container's header.

    Raises:
        UserError: if the file is not a video that can be opened.
    """
    with _opened(path) as capture:
        return VideoInfo(
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=round(float(capture.get(cv2.CAP_PROP_FPS)), 3),
            declared_frames=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
        )


def read_frames(path: Path, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
    """Decodes a video from its first to its last frame.

    Args:
        path: the video.
        wanted: frame indices whose pictures are needed; None means all.

    Yields:
        (frame index from 0, RGB picture), the picture None where it was not wanted. Every frame is decoded and counted.

    Raises:
        UserError: if the file cannot be opened.
    """
    with _opened(path) as capture:
        frame_index = 0
        while capture.grab():
            picture = None
            if wanted is None or frame_index in wanted:
                decoded, bgr = capture.retrieve()
                if not decoded:
                    return
                picture = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            yield frame_index, picture
            frame_index += 1


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise UserError(f"{path.name}: not a video that can be opened (damaged, empty, or without a video track)")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()
