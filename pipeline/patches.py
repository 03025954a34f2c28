"""Squares of a picture as the nets take them: cut out, averaged down, black beyond the picture. Knows no net."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import Image, contiguous, halved, resized

_FINE_ENOUGH = 64
"""A square is halved as often as it keeps this side before it is resampled: much less to average."""


class Square(NamedTuple):
    """A square of pixels, which may reach beyond the picture; all on a grid of 2 ** `halvings` pixels."""

    left: int
    top: int
    side: int
    halvings: int

    def regressed(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """A net's box: its output shifts the four sides by shares of the square's side."""
        left, top, side = self[:3]
        return np.array((left, top, left + side, top + side)) + shift * side


def square_around(box: NDArray[np.float64]) -> Square:
    """The square around a box that its longer side spans."""
    x0, y0, x1, y1 = box.tolist()
    side = max(x1 - x0, y1 - y0, 1.0)
    halvings = max(0, int(side / _FINE_ENOUGH).bit_length() - 1)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    left, top, side = (round(value / (1 << halvings)) << halvings for value in (left, top, side))
    return Square(left, top, max(1, side), halvings)


def patch(picture: Image, square: Square, side: int) -> Image:
    """A square of the picture in another size; black beyond the picture.

    Halving the square is as good as halving the picture: it lies on the same grid.
    """
    height, width = picture.shape[:2]
    left, top, length, halvings = square
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = (
        min(end, limit >> halvings << halvings) for end, limit in ((left + length, width), (top + length, height))
    )
    if x0 >= x1 or y0 >= y1:
        return np.zeros((side, side, 3), np.uint8)
    cut = picture[y0:y1, x0:x1]
    for _ in range(halvings):
        cut = halved(cut)
    above, below = (y0 - top) >> halvings, (top + length - y1) >> halvings
    before, after = (x0 - left) >> halvings, (left + length - x1) >> halvings
    if above or below or before or after:
        cut = cv2.copyMakeBorder(cut, above, below, before, after, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)
    return contiguous(resized(cut, side, side))
