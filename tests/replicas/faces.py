"""Faces of the demo set, to make replicas of: frames with the true landmarks of their one person."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline import geometry, video
from pipeline.contract import FACE_SIZE
from pipeline.geometry import Points
from pipeline.images import Image, encode_jpeg

DEMO = Path(__file__).parent.parent.parent / "data/demo"
_CLIPS = ("demo-001.mp4", "demo-003.avi")
_NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class DemoFace(NamedTuple):
    """A frame and the five landmarks of its face in pixels."""

    frame: Image
    points: Points

    def crop(self, side: int) -> Image:
        """The face upright in a square picture, cut as the field does it."""
        target = (geometry.template(1.0) + 0.5) * (side / FACE_SIZE) - 0.5
        matrix = geometry.similarity(self.points, target).matrix()
        return cv2.warpAffine(self.frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)

    def jpeg(self, side: int) -> bytes:
        """Its crop as JPEG."""
        return encode_jpeg(self.crop(side), 92)


@functools.cache
def demo_faces() -> list[DemoFace]:
    """Faces that all differ: every frame of two clips in which the whole face is seen."""
    points: dict[tuple[str, int], Points] = {}
    with (DEMO / "truth.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["x_nose"]:
                five = [[float(row[f"{axis}_{name}"]) for axis in "xy"] for name in _NAMES]
                points[row["video"], int(row["frame"])] = np.array(five)
    return [
        DemoFace(frame, points[Path(clip).stem, index])
        for clip in _CLIPS
        for index, frame in video.read_frames(DEMO / "raw/videos/batch1" / clip)
        if frame is not None and (Path(clip).stem, index) in points
    ]
