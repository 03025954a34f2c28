"""Where a picture may hold faces: at what sizes P-Net sees it, boxes from its answers, and which boxes are one face.

MTCNN's first stage (Zhang et al. 2016) with facenet-pytorch's constants. Pure numpy.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CELL, _STRIDE = 12, 2
"""P-Net's answer in (row, column) is about the 12 x 12 pixels that begin at twice its place."""

_SHRINKAGE = 0.709
"""From one size to the next: half the area."""


class Proposals(NamedTuple):
    """N x 4 boxes in pixels of the picture: what P-Net saw, and where it says the face is; N probabilities."""

    seen: NDArray[np.float64]
    moved: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def distinct(self, *, most: float) -> "Proposals":
        """The best ones; what was seen overlaps by no more than `most`."""
        places = distinct(self.seen, self.probabilities, most=most)
        return Proposals(*(values[places] for values in self))


def pyramid_sizes(height: int, width: int, min_face: int) -> list[tuple[int, int]]:
    """Heights and widths at which P-Net sees a picture: faces of `min_face` pixels and larger."""
    sizes, scale = [], _CELL / min_face
    while min(height, width) * scale >= _CELL:
        sizes.append((int(height * scale) + 1, int(width * scale) + 1))
        scale *= _SHRINKAGE
    return sizes


def proposed(
    probabilities: NDArray[np.float64], shifts: NDArray[np.float64], factors: NDArray[np.float64], *, least: float
) -> Proposals:
    """Boxes where P-Net is at least so sure of a face.

    Args:
        probabilities: rows x columns.
        shifts: 4 x rows x columns, of the sides by shares of a cell.
        factors: pixels of the picture per pixel that P-Net saw, horizontally and vertically.
        least: probability.
    """
    rows, columns = np.nonzero(probabilities >= least)
    scale = np.tile(factors, 2)
    cells = _STRIDE * np.stack([columns, rows, columns, rows], axis=1) + np.array([0, 0, _CELL, _CELL])
    moved = cells + _CELL * shifts[:, rows, columns].T
    return Proposals(cells * scale, moved * scale, probabilities[rows, columns])


def joined(parts: list[Proposals]) -> Proposals:
    """Proposals of all sizes together."""
    return Proposals(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def distinct(
    boxes: NDArray[np.float64], probabilities: NDArray[np.float64], *, most: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Places of the boxes that overlap no better one too much, the best first (greedy suppression).

    Args:
        boxes: N x 4.
        probabilities: N.
        most: largest overlap allowed: intersection over union.
        of_smaller: intersection over the smaller of the two boxes instead: a box inside another is the same face.
    """
    order = np.argsort(-probabilities, kind="stable")
    sorted_boxes = boxes[order]
    sizes = sorted_boxes[:, 2:] - sorted_boxes[:, :2]
    areas = sizes[:, 0] * sizes[:, 1]
    alive = np.ones(len(order), dtype=np.bool_)
    for place in range(len(order)):
        if alive[place]:
            rest = place + 1 + np.flatnonzero(alive[place + 1 :])
            low = np.maximum(sorted_boxes[place, :2], sorted_boxes[rest, :2])
            high = np.minimum(sorted_boxes[place, 2:], sorted_boxes[rest, 2:])
            shared = np.maximum(high - low, 0.0).prod(axis=1)
            whole = np.minimum(areas[place], areas[rest]) if of_smaller else areas[place] + areas[rest] - shared
            alive[rest[shared > most * whole]] = False
    return order[alive]
