"""Five landmarks to the upright face template. Pure, and exact on every machine: sums are correctly rounded (fsum)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import FACE_SIZE, LANDMARK_STEP

Points = NDArray[np.float64]
"""Landmarks, 5 x 2 (x, y) in pixels, in the order of `contract.LANDMARKS`."""

Boxes = Sequence[NDArray[np.float64]]
"""Boxes (x0, y0, x1, y1) in pixels."""

_ARCFACE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""The field's usual five-point template in a 112-pixel square (Deng et al., ArcFace, CVPR 2019, reference code)."""

_HEAD = np.array([[-31.5, 0, 0], [31.5, 0, 0], [0, 36, -30], [-26, 73, -3], [26, 73, -3]], dtype=np.float64)
"""Eyes, nose tip and mouth corners of a mean head in millimetres: x to the right, y down, z into the picture."""

_FROM_HEAD = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0)).T


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face: box (x0, y0, x1, y1) and landmarks in pixels of the picture, rounded; probability in [0, 1].

    An interpolated face was not seen: it lies between those of the frames before and after.
    """

    box: NDArray[np.float64]
    points: Points
    probability: float
    interpolated: bool = False


@dataclass(frozen=True)
class Similarity:
    """Rotation, uniform scale and shift: (x, y) -> (a x − b y + tx, b x + a y + ty)."""

    a: float
    b: float
    tx: float
    ty: float

    @property
    def scale(self) -> float:
        """Template pixels per source pixel."""
        return math.hypot(self.a, self.b)

    def matrix(self) -> NDArray[np.float64]:
        """The 2 x 3 matrix that OpenCV's warps take."""
        return np.array([[self.a, -self.b, self.tx], [self.b, self.a, self.ty]])

    def apply(self, points: Points) -> Points:
        """Transforms N x 2 points."""
        x, y = points[:, 0], points[:, 1]
        return np.stack([self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty], axis=1)

    def inverted(self, points: Points) -> Points:
        """N x 2 points before the transform."""
        x, y = points[:, 0] - self.tx, points[:, 1] - self.ty
        square = self.a * self.a + self.b * self.b
        return np.stack([(self.a * x + self.b * y) / square, (self.a * y - self.b * x) / square], axis=1)

    def from_window(self, left: int, top: int) -> "Similarity":
        """The same transform from the part of the picture that begins there."""
        tx = self.tx + self.a * left - self.b * top
        return Similarity(self.a, self.b, tx, self.ty + self.b * left + self.a * top)

    def from_halved(self) -> "Similarity":
        """The same transform from a picture of half the size; pixel centres are whole numbers."""
        shift_x, shift_y = (self.a - self.b) / 2, (self.b + self.a) / 2
        return Similarity(2 * self.a, 2 * self.b, self.tx + shift_x, self.ty + shift_y)

    def magnified(self, factor: int) -> "Similarity":
        """The same transform onto a grid `factor` times as fine; pixel centres are whole numbers."""
        shift = (factor - 1) / 2
        return Similarity(self.a * factor, self.b * factor, self.tx * factor + shift, self.ty * factor + shift)


def template(scale: float) -> Points:
    """Where the five landmarks of an aligned face lie, in pixels of the stored picture.

    Args:
        scale: 1 is the usual tight crop; smaller shows more of the head around the face.
    """
    centre = FACE_SIZE / 2
    points = (np.array(_ARCFACE_112) + 0.5) * (FACE_SIZE / 112)
    return (points - centre) * scale + centre - 0.5


def similarity(source: Points, target: Points) -> Similarity:
    """The least-squares similarity transform from source to target points (Umeyama 1991, in closed form for the plane).

    Raises:
        ValueError: if all source points coincide.
    """
    count = len(source)
    source_x, source_y = (math.fsum(source[:, axis]) / count for axis in (0, 1))
    target_x, target_y = (math.fsum(target[:, axis]) / count for axis in (0, 1))
    pairs = [
        (float(x) - source_x, float(y) - source_y, float(u) - target_x, float(v) - target_y)
        for (x, y), (u, v) in zip(source, target, strict=True)
    ]
    spread = math.fsum(x * x + y * y for x, y, _, _ in pairs)
    if spread == 0:
        raise ValueError("all landmarks coincide")
    a = math.fsum(x * u + y * v for x, y, u, v in pairs) / spread
    b = math.fsum(x * v - y * u for x, y, u, v in pairs) / spread
    return Similarity(a, b, target_x - a * source_x + b * source_y, target_y - b * source_x - a * source_y)


def fitted(width: int, height: int) -> Similarity:
    """A whole picture into the square of a face, centred, its longer side as long as that."""
    scale = FACE_SIZE / max(width, height)
    shifts = [(FACE_SIZE - scale * side) / 2 + (scale - 1) / 2 for side in (width, height)]
    return Similarity(scale, 0.0, *shifts)


def scaled(face: Detection, factors: NDArray[np.float64]) -> Detection:
    """A face of a picture in the pixels of the same picture in another size.

    Args:
        face: with pixel centres at whole numbers, as everywhere.
        factors: new width by old width, new height by old height.
    """
    if (factors == 1).all():
        return face
    box = ((face.box.reshape(2, 2) + 0.5) * factors - 0.5).reshape(4)
    points = (face.points + 0.5) * factors - 0.5
    return replace(face, box=rounded(box), points=rounded(points))


class Pose(NamedTuple):
    """Where a head looks, in degrees: yaw to the right of the picture, pitch down, roll clockwise, all positive."""

    yaw: float
    pitch: float
    roll: float


def pose(points: Points) -> Pose:
    """Estimates the head's pose from five landmarks: a mean head seen under scaled orthographic projection.

    Good to some ten degrees: five points, and one head for everybody. Source: POS, DeMenthon and Davis, Model-based
    object pose in 25 lines of code, IJCV 1995; rounded to a tenth of a degree.
    """
    projected = (points - points.mean(axis=0)).T @ _FROM_HEAD
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    if not lengths.all():
        return Pose(0.0, 0.0, 0.0)
    right, down = projected / lengths  # the rotation's rows: x to the right, y down, z into the picture
    away = np.cross(right, down)
    away /= np.linalg.norm(away) or 1.0
    yaw = math.atan2(-right[2], away[2])
    pitch = math.atan2(-down[2], math.hypot(right[2], away[2]))
    roll = math.atan2(down[0], right[0])
    return Pose(*(round(math.degrees(angle), 1) + 0.0 for angle in (yaw, pitch, roll)))


def interocular(points: Points) -> float:
    """Distance between the eyes in pixels."""
    return math.hypot(float(points[1, 0] - points[0, 0]), float(points[1, 1] - points[0, 1]))


def rounded(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Coordinates rounded to `LANDMARK_STEP`, exact in binary."""
    return np.round(np.asarray(values, dtype=np.float64) / LANDMARK_STEP) * LANDMARK_STEP
