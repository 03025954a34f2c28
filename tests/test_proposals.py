"""P-Net's proposals and the nets' patches against independent computations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from pipeline import patches, proposals
from pipeline.images import Image
from pipeline.patches import Square


def boxes_and_scores(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    luck = np.random.default_rng(seed)
    corners = luck.uniform(0, 100, (count, 2))
    return np.hstack([corners, corners + luck.uniform(10, 60, (count, 2))]), luck.permutation(count) / count


@pytest.mark.parametrize("most", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("count", [0, 1, 2, 50, 300])
def test_distinct_boxes_are_those_that_torchvision_keeps(count: int, most: float) -> None:
    boxes, scores = boxes_and_scores(count, count)
    kept = proposals.distinct(boxes, scores, most=most)
    assert kept.tolist() == nms(torch.from_numpy(boxes), torch.from_numpy(scores), most).tolist()


def test_a_box_inside_a_better_one_is_the_same_face_only_where_asked_for() -> None:
    boxes = np.array([[0, 0, 100, 100], [30, 30, 60, 60], [90, 90, 190, 190]], dtype=np.float64)
    scores = np.array([0.9, 0.8, 0.99])
    assert proposals.distinct(boxes, scores, most=0.7).tolist() == [2, 0, 1]
    assert proposals.distinct(boxes, scores, most=0.7, of_smaller=True).tolist() == [2, 0]


@pytest.mark.parametrize(("height", "width", "min_face"), [(360, 640, 40), (720, 1280, 20), (41, 500, 40)])
def test_every_size_of_face_is_some_twelve_pixels_high_once(height: int, width: int, min_face: int) -> None:
    faces = [12 * height / rows for rows, _ in proposals.pyramid_sizes(height, width, min_face)]
    assert 0.9 * min_face < faces[0] <= min_face
    assert all(one < other < 1.5 * one for one, other in pairwise(faces))
    assert faces[-1] * 1.5 > height * 0.9


def test_no_size_is_small_enough_for_a_picture_below_the_smallest_face() -> None:
    assert proposals.pyramid_sizes(39, 500, 40) == []


def test_a_cell_is_twelve_pixels_at_twice_its_place() -> None:
    probabilities, shifts = np.zeros((5, 7)), np.zeros((4, 5, 7))
    probabilities[2, 3] = 0.8
    shifts[:, 2, 3] = (0.5, 0, 0, -0.25)
    found = proposals.proposed(probabilities, shifts, np.array([2.0, 10.0]), least=0.6)
    assert found.seen.tolist() == [[12, 40, 36, 160]]
    assert found.moved.tolist() == [[24, 40, 36, 130]] and found.probabilities.tolist() == [0.8]


def reference_patch(picture: Image, square: Square, side: int) -> np.ndarray:
    """The whole picture halved by means of four, then the mean over each cell of the square, in floating point."""
    for _ in range(square.halvings):
        even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].astype(np.float64)
        picture = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    left, top, length = (value >> square.halvings for value in square[:3])
    black = np.zeros((length, length, 3))
    for row in range(length):
        for column in range(length):
            if 0 <= top + row < picture.shape[0] and 0 <= left + column < picture.shape[1]:
                black[row, column] = picture[top + row, left + column]
    edges = np.linspace(0, length, side + 1)
    overlaps = np.clip(
        np.minimum(edges[1:, None], np.arange(length) + 1) - np.maximum(edges[:-1, None], np.arange(length)), 0, 1
    )
    weights = overlaps / overlaps.sum(axis=1, keepdims=True)
    return np.einsum("ij,kl,jlc->ikc", weights, weights, black)


@pytest.mark.parametrize(
    "box", [(20, 10, 110, 95), (-40, -30, 60, 70), (150, 60, 330, 230), (101, 33, 460, 391), (10, 10, 180, 181)]
)
def test_a_patch_is_the_mean_over_its_pixels_and_black_outside(box: tuple[float, ...]) -> None:
    luck = np.random.default_rng(1)
    picture = luck.integers(0, 256, (201, 303, 3), dtype=np.uint8)
    square = patches.square_around(np.array(box, dtype=np.float64))
    assert square.side >> square.halvings >= 48
    cut = patches.patch(picture, square, 24)
    assert np.abs(cut - reference_patch(picture, square, 24)).max() <= 1 + square.halvings / 2


@pytest.mark.parametrize("square", [Square(-90, 0, 80, 0), Square(400, 10, 30, 0), Square(0, 202, 64, 1)])
def test_a_patch_beyond_the_picture_is_black(square: Square) -> None:
    assert not patches.patch(np.full((201, 303, 3), 255, np.uint8), square, 48).any()
