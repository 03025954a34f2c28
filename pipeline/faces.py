"""One video's frames to its faces: detection, then cropping from recorded landmarks. Knows neither labels nor DVC."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry, images
from pipeline.geometry import Detection, Points
from pipeline.video import Image

if TYPE_CHECKING:
    from pipeline.detector import Detector

_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """Width and height of the upright video frame, in pixels; stored frames may be smaller."""

    width: int
    height: int

    def factors(self, picture: Image) -> NDArray[np.float64]:
        """Video pixels per stored pixel, horizontally and vertically."""
        height, width = picture.shape[:2]
        return np.array([self.width / width, self.height / height])


@dataclass(frozen=True, kw_only=True)
class Face:
    """One aligned face as JPEG, with measures of the stored picture's quality."""

    jpeg: bytes
    brightness: float
    sharpness: float


def detect_faces(
    frames: Iterable[tuple[int, Image]], detector: "Detector", size: FrameSize, *, min_confidence: float
) -> dict[int, list[Detection]]:
    """Faces by frame index, in pixels of the video frame; frames without a face map to an empty list."""
    found: dict[int, list[Detection]] = {}
    for batch in _batches(frames, _BATCH if detector.device.type != "cpu" else 1):
        pictures = [picture for _, picture in batch]
        for (frame_index, picture), faces in zip(batch, detector.detect(pictures), strict=True):
            factors = size.factors(picture)
            found[frame_index] = [
                _in_video_pixels(face, factors) for face in faces if face.probability >= min_confidence
            ]
    return found


def crop_face(picture: Image, points: Points, size: FrameSize, *, template_scale: float, quality: int) -> Face:
    """Aligns one face from its landmarks in video pixels: a pure function, the same on every machine.

    Raises:
        ValueError: if all landmarks coincide.
    """
    in_picture = (points + 0.5) / size.factors(picture) - 0.5
    transform = geometry.similarity(in_picture, geometry.template(template_scale))
    face = images.warp_face(picture, transform)
    return Face(
        jpeg=images.encode_jpeg(face, quality),
        brightness=images.brightness(face),
        sharpness=images.sharpness(face),
    )


def _in_video_pixels(face: Detection, factors: NDArray[np.float64]) -> Detection:
    if (factors == 1).all():
        return face
    box = (face.box.reshape(2, 2) + 0.5) * factors - 0.5
    points = (face.points + 0.5) * factors - 0.5
    return Detection(
        box=geometry.rounded(box.reshape(4)), points=geometry.rounded(points), probability=face.probability
    )


def _batches(frames: Iterable[tuple[int, Image]], length: int) -> Iterator[list[tuple[int, Image]]]:
    batch: list[tuple[int, Image]] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == length:
            yield batch
            batch = []
    if batch:
        yield batch
