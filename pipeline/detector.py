"""Faces and five landmarks: MTCNN (Zhang et al. 2016), with facenet-pytorch's nets and weights.

Two ways to them: the whole frame (P-, R- and O-Net), and the neighbourhood of a face known from the frame before, which
needs the refinement nets only. The only user of facenet_pytorch and, in this package, of torch.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from torch import nn

from pipeline.geometry import Detection, rounded, scaled
from pipeline.images import halved, shrink
from pipeline.video import Image

_RNET_SIDE, _ONET_SIDE = 24, 48
_SMALLEST_SEARCHED = 20
"""Side of the smallest face that a search at working size looks for, in working pixels (facenet-pytorch's default)."""

_LOOKS = ((0.0, 0.0), (-0.03, -0.03), (0.03, 0.03))
"""O-Net sees a known face this often, shifted by these shares of its side: the mean of the boxes and landmarks is
steadier than one look. The probability is the best look's, as MTCNN keeps the best of its overlapping candidates."""

_BATCH = 16
"""Frames that a GPU searches together; on a CPU a batch gains nothing."""

_FINE_ENOUGH = 2 * _ONET_SIDE
"""A net's patch is taken from the picture halved as often as its square keeps this side: much less to average."""


class Square(NamedTuple):
    """A square of pixels, which may reach beyond the picture; all on a grid of 2 ** `halvings` pixels."""

    left: int
    top: int
    side: int
    halvings: int


class Detector:
    """MTCNN on one device."""

    def __init__(self, *, min_face: int, device: str, working_side: int | None = None) -> None:
        """Loads the weights that the facenet-pytorch wheel carries.

        Args:
            min_face: side of the smallest face looked for, in pixels.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            working_side: longest side, in pixels, to which `search` shrinks a picture; None for no limit.
        """
        self.device = torch.device(resolve_device(device))
        self.batch = 1 if self.device.type == "cpu" else _BATCH
        self._min_face, self._working_side = min_face, working_side
        self._mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=self.device)
        for net in (self._mtcnn.pnet, self._mtcnn.rnet, self._mtcnn.onet):
            net.to(memory_format=torch.channels_last)  # O-Net 2.4 times as fast on a CPU, P-Net on large pictures twice

    def detect(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Faces of each picture by the whole-frame search of facenet-pytorch, in MTCNN's order.

        On a GPU pictures of one size go through together; on a CPU a batch gains nothing and they go one by one.
        """
        alike = len({picture.shape for picture in pictures}) == 1
        if self.device.type != "cpu" and alike:
            return self._detect_stack(np.stack(pictures), self._min_face)
        return [found for picture in pictures for found in self._detect_stack(picture[None], self._min_face)]

    def search(self, picture: Image, *, thorough: bool) -> list[Detection]:
        """Faces anywhere in a picture: found at working size, then measured at the picture's own.

        Args:
            picture: RGB.
            thorough: if nobody is found at working size, look again at the picture's own.
        """
        small = picture if self._working_side is None else shrink(picture, self._working_side)
        factors = np.array([picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]])
        min_face = (
            self._min_face if small is picture else max(_SMALLEST_SEARCHED, round(self._min_face / factors.min()))
        )
        found = [scaled(face, factors) for face in self._detect_stack(small[None], min_face)[0]]
        if thorough and not found and small is not picture:
            found = self.detect([picture])[0]
        return self.refine(picture, [face.box for face in found])

    def refine(self, picture: Image, boxes: Sequence[NDArray[np.float64]]) -> list[Detection]:
        """Measures faces that are roughly where these boxes are (R-Net, then O-Net), in the order of the boxes.

        A box that holds no face comes back with a low probability.
        """
        if not boxes:
            return []
        pyramid = [picture]
        squares = [_square(box) for box in boxes]
        shifts = self._run(self._mtcnn.rnet, pyramid, squares, _RNET_SIDE)[0]
        moved = [_square(_regressed(square, shift)) for square, shift in zip(squares, shifts, strict=True)]
        looks = [_shifted(square, *look) for square in moved for look in _LOOKS]
        shifts, points, probabilities = self._run(self._mtcnn.onet, pyramid, looks, _ONET_SIDE)
        box_at = np.array([_regressed(square, shift) for square, shift in zip(looks, shifts, strict=True)])
        points_at = np.array([_placed(square, five) for square, five in zip(looks, points, strict=True)])
        return [
            Detection(
                box=rounded(box_at[first : first + len(_LOOKS)].mean(axis=0)),
                points=rounded(points_at[first : first + len(_LOOKS)].mean(axis=0)),
                probability=round(float(probabilities[first : first + len(_LOOKS), 1].max()), 4),
            )
            for first in range(0, len(looks), len(_LOOKS))
        ]

    def _detect_stack(self, pictures: NDArray[np.uint8], min_face: int) -> list[list[Detection]]:
        if min(pictures.shape[1:3]) < min_face:
            return [[] for _ in pictures]
        self._mtcnn.min_face_size = min_face
        with warnings.catch_warnings():
            # facenet-pytorch stacks lists of unequal length (no face in some pictures) into object arrays.
            warnings.simplefilter("ignore")
            boxes, probabilities, points = self._mtcnn.detect(pictures, landmarks=True)
        return [_detections(*found) for found in zip(boxes, probabilities, points, strict=True)]

    def _run(
        self, net: nn.Module, pyramid: list[Image], squares: Sequence[Square], side: int
    ) -> tuple[NDArray[np.float64], ...]:
        patches = torch.from_numpy(np.stack([_patch(pyramid, square, side) for square in squares])).to(self.device)
        pixels = (patches.permute(0, 3, 1, 2).float() - 127.5) / 128
        with torch.inference_mode():
            return tuple(output.double().cpu().numpy() for output in net(pixels))


def _patch(pyramid: list[Image], square: Square, side: int) -> Image:
    """A square of the picture in the size that a net takes; black beyond the picture.

    Args:
        pyramid: the picture, and its successive halvings as far as they were needed so far; grows.
        square: in pixels of the picture.
        side: of the patch.
    """
    while len(pyramid) <= square.halvings:
        pyramid.append(halved(pyramid[-1]))
    picture = pyramid[square.halvings]
    left, top, length = (value >> square.halvings for value in square[:3])
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (
        min(max(left, 0), width),
        min(max(top, 0), height),
        min(max(left + length, 0), width),
        min(max(top + length, 0), height),
    )
    if x0 >= x1 or y0 >= y1:
        return np.zeros((side, side, 3), np.uint8)
    patch = picture[y0:y1, x0:x1]
    margins = (y0 - top, top + length - y1, x0 - left, left + length - x1)
    if any(margins):
        patch = cv2.copyMakeBorder(patch, *margins, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)
    return cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _square(box: NDArray[np.float64]) -> Square:
    """The square around a box that its longer side spans."""
    x0, y0, x1, y1 = box.tolist()
    side = max(x1 - x0, y1 - y0, 1.0)
    halvings = max(0, int(side / _FINE_ENOUGH).bit_length() - 1)
    return _on_grid((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side, halvings)


def _shifted(square: Square, right: float, down: float) -> Square:
    left, top, side, halvings = square
    return _on_grid(left + right * side, top + down * side, side, halvings)


def _on_grid(left: float, top: float, side: float, halvings: int) -> Square:
    left, top, side = (round(value / (1 << halvings)) << halvings for value in (left, top, side))
    return Square(left, top, max(1, side), halvings)


def _regressed(square: Square, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """A net's box: its output shifts the four sides by shares of the square's side."""
    left, top, side, _ = square
    return np.array([left, top, left + side, top + side]) + shift * side


def _placed(square: Square, five: NDArray[np.float64]) -> NDArray[np.float64]:
    """O-Net's landmarks, five x then five y as shares of the side, in pixels.

    No half pixel is taken off for pixel centres: without it the mean error against data/demo/truth.csv has no bias.
    """
    left, top, side, _ = square
    return np.stack([left + side * five[:5], top + side * five[5:]], axis=1)


def _detections(
    boxes: NDArray[np.float32] | None, probabilities: NDArray[np.float32], points: NDArray[np.float32]
) -> list[Detection]:
    if boxes is None:
        return []
    return [
        Detection(box=rounded(box), points=rounded(five), probability=round(float(probability), 4))
        for box, probability, five in zip(boxes, probabilities, points, strict=True)
    ]


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is a GPU, else `cpu`."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
