"""Alignment puts landmarks where the template says, in numbers and in pictures, and is exact about it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline import faces, geometry, images
from pipeline.contract import FACE_SIZE, LANDMARK_STEP
from pipeline.faces import FrameSize
from pipeline.geometry import Points, Similarity
from pipeline.images import Image

SEEDS = range(20)
DOTS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
"""One colour a landmark, on grey."""


def similar(points: Points, *, scale: float, degrees: float, shift: tuple[float, float]) -> Points:
    turn = math.radians(degrees)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved: Points = scale * points @ rotation.T + np.array(shift)
    return moved


def by_least_squares(source: Points, target: Points) -> NDArray[np.float64]:
    """The similarity by a general solver: unknowns a, b, tx, ty."""
    x, y = source.T
    one, nought = np.ones_like(x), np.zeros_like(x)
    design = np.concatenate([np.stack([x, -y, one, nought], 1), np.stack([y, x, nought, one], 1)])
    solution: NDArray[np.float64] = np.linalg.lstsq(design, target.T.reshape(-1), rcond=None)[0]
    return solution


def by_umeyama(source: Points, target: Points) -> NDArray[np.float64]:
    """Umeyama 1991, Eq. 40-43, by singular value decomposition."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, values, right = np.linalg.svd(covariance)
    sign = np.array([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = (values * sign).sum() / ((source - source_mean) ** 2).sum(1).mean()
    shift = target_mean - scale * rotation @ source_mean
    return np.array([scale * rotation[0, 0], scale * rotation[1, 0], *shift])


def parts(transform: Similarity) -> NDArray[np.float64]:
    return np.array([transform.a, transform.b, transform.tx, transform.ty])


def face_points(seed: int) -> Points:
    """A plausible face: the template moved about, with noise."""
    generator = np.random.default_rng(seed)
    placed = similar(
        geometry.template(1.0),
        scale=generator.uniform(0.1, 4),
        degrees=generator.uniform(-60, 60),
        shift=(generator.uniform(0, 1900), generator.uniform(0, 1000)),
    )
    return placed + generator.normal(0, 2, (5, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_transform_is_the_least_squares_one(seed: int) -> None:
    source, target = face_points(seed), geometry.template(0.8)
    solved = parts(geometry.similarity(source, target))
    for reference in (by_least_squares, by_umeyama):
        np.testing.assert_allclose(solved, reference(source, target), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_similarity_is_recovered_exactly(seed: int) -> None:
    target = np.random.default_rng(seed).uniform(0, 500, (5, 2))
    source = similar(target, scale=1.7, degrees=seed * 18, shift=(-40, 900))
    transform = geometry.similarity(source, target)
    np.testing.assert_allclose(transform.apply(source), target, atol=1e-9)
    assert transform.scale == pytest.approx(1 / 1.7, rel=1e-12)


def test_a_mirrored_face_is_never_mirrored_back() -> None:
    mirrored = geometry.template(1.0) * [-1, 1]
    matrix = geometry.similarity(mirrored, geometry.template(1.0)).matrix()
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_the_result_does_not_depend_on_the_order_of_summation() -> None:
    source, target = face_points(3), geometry.template(1.0)
    order = [3, 1, 4, 0, 2]
    assert geometry.similarity(source, target) == geometry.similarity(source[order], target[order])


def test_landmarks_in_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        geometry.similarity(np.full((5, 2), 7.25), geometry.template(1.0))


def test_the_template_is_the_usual_one_at_twice_the_size() -> None:
    """The left eye of the field's 112-pixel template, where pixel i covers [i - 0.5, i + 0.5]."""
    np.testing.assert_allclose(geometry.template(1.0)[0], [2 * 38.2946 + 0.5, 2 * 51.6963 + 0.5])


@pytest.mark.parametrize("scale", [0.4, 0.75, 1.2])
def test_a_smaller_template_shrinks_towards_the_middle(scale: float) -> None:
    middle = (FACE_SIZE - 1) / 2
    np.testing.assert_allclose(geometry.template(scale) - middle, scale * (geometry.template(1.0) - middle))


def test_interocular_is_the_distance_between_the_eyes() -> None:
    points = np.array([[10.0, 20], [13, 24], [0, 0], [0, 0], [0, 0]])
    assert geometry.interocular(points) == 5


@given(st.lists(st.floats(-10_000, 10_000), min_size=1, max_size=20))
def test_rounding_is_to_the_nearest_step_and_exact_in_binary(values: list[float]) -> None:
    rounded = geometry.rounded(np.array(values, dtype=np.float32))
    steps = rounded / LANDMARK_STEP
    assert (steps == np.round(steps)).all()
    assert np.abs(rounded - np.array(values, dtype=np.float32)).max() <= LANDMARK_STEP / 2
    assert np.array_equal(geometry.rounded(rounded), rounded)
    assert LANDMARK_STEP == 1 / 64


def dotted(points: Points, *, width: int, height: int, radius: float) -> Image:
    """Grey, with an anti-aliased disc of its own colour at each landmark."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    picture = np.full((height, width, 3), 128.0)
    for (u, v), colour in zip(points, DOTS, strict=True):
        cover = np.clip(radius + 0.5 - np.hypot(x - u, y - v), 0, 1)[..., None]
        picture = picture * (1 - cover) + cover * np.array(colour)
    return picture.round().astype(np.uint8)


def dots_in(face: Image) -> Points:
    """Centres of the coloured discs."""
    y, x = np.mgrid[: face.shape[0], : face.shape[1]].astype(np.float64)
    centres = []
    for colour in DOTS:
        distance = np.linalg.norm(face.astype(np.float64) - colour, axis=2)
        weight = np.clip(1 - distance / 110, 0, 1)
        centres.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return np.array(centres)


VIEWS = [(0.3, 0.0), (0.3, 35.0), (1.0, 0.0), (1.0, -20.0), (1.0, 180.0), (2.6, 0.0), (2.6, 15.0), (4.5, -40.0)]
"""(Frame pixels a template pixel, degrees): faces much smaller and much larger than 224 pixels."""


def placed(scale: float, degrees: float) -> tuple[Points, int]:
    """Landmarks of a face in the middle of a square frame, and the frame's side."""
    side = math.ceil(FACE_SIZE * scale * 1.3) + 20
    return similar(geometry.template(1.0) - 111.5, scale=scale, degrees=degrees, shift=(side / 2, side / 2 + 3.3)), side


@pytest.mark.parametrize(("scale", "degrees"), VIEWS)
@pytest.mark.parametrize("template_scale", [1.0, 0.6])
def test_landmarks_land_on_the_template(scale: float, degrees: float, template_scale: float) -> None:
    points, side = placed(scale, degrees)
    picture = dotted(points, width=side, height=side, radius=max(2.0, 6 * scale))
    target = geometry.template(template_scale)
    face = images.warp_face(picture, geometry.similarity(points, target))
    assert face.shape == (FACE_SIZE, FACE_SIZE, 3)
    assert np.abs(dots_in(face) - target).max() < 0.2


@pytest.mark.parametrize("seed", range(60))
def test_a_face_averaged_down_is_as_if_the_whole_picture_were(seed: int) -> None:
    """Faces of all sizes, in the picture, across its edges and outside."""
    luck = np.random.default_rng(seed)
    height, width = luck.integers(60, 700, 2)
    picture = luck.integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale, angle = 2.0 ** -luck.uniform(0, 3.5), luck.uniform(-3, 3)
    x, y = luck.uniform(-0.3, 1.3) * width, luck.uniform(-0.3, 1.3) * height
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    transform = Similarity(a, b, FACE_SIZE / 2 - a * x + b * y, FACE_SIZE / 2 - b * x - a * y)
    cut = images.warp_face(picture, transform)
    while transform.scale <= 0.5 and min(picture.shape[:2]) >= 2:
        picture, transform = images.halved(picture), transform.from_halved()
    assert (cut == images.warp_face(picture, transform)).all()


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_the_inverse_brings_points_back(x: float, y: float) -> None:
    transform = Similarity(0.4, -0.3, 12.0, 500.0)
    (back,) = transform.inverted(transform.apply(np.array([[x, y]])))
    assert back == pytest.approx([x, y], abs=1e-6)


@pytest.mark.parametrize("max_side", [1000, 333, 150])
def test_landmarks_in_video_pixels_fit_frames_that_were_shrunk(max_side: int) -> None:
    points, side = placed(2.6, 12.0)
    width, height = side + 160, side
    picture = images.shrink(dotted(points, width=width, height=height, radius=16), max_side)
    size = FrameSize(width=width, height=height)
    face = faces.crop_face(picture, points, size, template_scale=1.0, quality=100)
    assert np.abs(dots_in(images.decode_jpeg(face.jpeg)) - geometry.template(1.0)).max() < 0.2


def test_a_large_face_does_not_alias() -> None:
    """A checkerboard finer than the crop's pixels becomes even grey, not a pattern."""
    y, x = np.mgrid[:1200, :1200]
    board = np.repeat((((x // 2 + y // 2) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    points, _ = placed(5.0, 0.0)
    face = images.warp_face(board, geometry.similarity(points - points.mean(0) + 600, geometry.template(1.0)))
    assert face[30:-30, 30:-30].std() < 12


@pytest.mark.parametrize("yaw", [-40, -10, 0, 25])
@pytest.mark.parametrize("pitch", [-20, 0, 15])
@pytest.mark.parametrize("roll", [-30, 0, 10])
def test_pose_is_that_of_the_mean_head_however_it_is_turned_moved_and_scaled(yaw: int, pitch: int, roll: int) -> None:
    """An independent rotation (scipy): roll about the line of sight, after pitch, after yaw."""
    turned = Rotation.from_euler("zxy", [roll, -pitch, -yaw], degrees=True).apply(geometry._HEAD)
    estimated = geometry.pose(turned[:, :2] * 1.7 + (300, 200))
    # `zxy` (extrinsic) and the direction of the face agree exactly while two of the three angles are small
    looks = Rotation.from_euler("zxy", [roll, -pitch, -yaw], degrees=True).apply([0, 0, -1])
    assert estimated.yaw == pytest.approx(np.degrees(np.arctan2(looks[0], -looks[2])), abs=0.06)
    assert estimated.pitch == pytest.approx(np.degrees(np.arcsin(looks[1])), abs=0.06)


def test_signs_of_the_pose() -> None:
    frontal = geometry.template(1.0)
    nose_right, nose_down = frontal.copy(), frontal.copy()
    nose_right[2, 0] += 10
    nose_down[2, 1] += 10
    clockwise = np.array([[x * 0.9 - y * 0.3, x * 0.3 + y * 0.9] for x, y in frontal])
    assert abs(geometry.pose(frontal).yaw) < 3
    assert geometry.pose(nose_right).yaw > 5
    assert geometry.pose(nose_down).pitch > geometry.pose(frontal).pitch + 5
    assert geometry.pose(clockwise).roll == pytest.approx(np.degrees(np.arctan2(0.3, 0.9)), abs=2)
    assert geometry.pose(np.zeros((5, 2))) == (0, 0, 0)


def test_scaling_a_face_keeps_pixel_centres() -> None:
    face = geometry.Detection(box=np.array([0.0, 0, 9, 9]), points=np.full((5, 2), 4.5), probability=1.0)
    double = geometry.scaled(face, np.array([2.0, 2.0]))
    assert double.box.tolist() == [0.5, 0.5, 18.5, 18.5] and (double.points == 9.5).all()
    assert geometry.scaled(face, np.array([1.0, 1.0])) is face
