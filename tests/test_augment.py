"""The paper's augmentation against torchvision's own definition of it."""

import itertools

import numpy as np
import pytest
from PIL import Image as PillowImage
from torchvision.transforms import functional

from pipeline.files import digest_of
from pipeline.images import Image
from train.augment import JITTER, Augment, jittered

TORCHVISIONS = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)


def seed_of(number: int) -> int:
    return int(digest_of(number)[:16], 16)


def pictures() -> list[Image]:
    generator = np.random.default_rng(0)
    soft = np.linspace(0, 255, 64)[:, None, None] * np.linspace(0.2, 1, 48)[None, :, None] * np.array([1, 0.7, 0.5])
    bright = np.clip(generator.normal(230, 40, (64, 48, 3)), 0, 255)
    return [generator.integers(0, 256, (64, 48, 3), dtype=np.uint8), soft.astype(np.uint8), bright.astype(np.uint8)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_jitter_is_torchvisions_to_within_the_rounding_of_three_steps(order: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    for picture, _ in itertools.product(pictures(), range(5)):
        factors = generator.uniform(1 - JITTER, 1 + JITTER, 3)
        theirs = PillowImage.fromarray(picture)
        for kind in order:
            theirs = TORCHVISIONS[kind](theirs, factors[kind])
        difference = jittered(picture, factors, order).astype(int) - np.asarray(theirs)
        assert np.abs(difference).max() <= 4  # 1 + 1.25 + 1.25 * 1.25, rounded up
        assert np.abs(difference).mean() <= 2.5


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("factor", [0.75, 0.9, 1.1, 1.25])
def test_one_step_rounds_where_torchvision_cuts_off(kind: int, factor: float) -> None:
    for picture in pictures():
        factors = np.ones(3)
        factors[kind] = factor
        theirs = np.asarray(TORCHVISIONS[kind](PillowImage.fromarray(picture), factor)).astype(int)
        assert set(np.unique(jittered(picture, factors, [kind]) - theirs)) <= {0, 1}


def test_factors_of_one_change_nothing() -> None:
    for picture in pictures():
        assert np.abs(jittered(picture, [1, 1, 1], range(3)).astype(int) - picture).max() <= 1


def test_draws_are_even_and_independent() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4] = 100
    changed = [Augment(original=False)(picture, seed_of(n)) for n in range(2000)]
    flipped = np.array([each[0, 0, 0] < each[0, -1, 0] for each in changed])
    levels = np.array([each.max() for each in changed])
    assert 0.46 < flipped.mean() < 0.54
    assert levels.min() >= 100 * 0.75 * 0.75 - 2 and levels.max() <= 100 * 1.25 * 1.25 + 2
    assert abs(np.corrcoef(flipped, levels)[0, 1]) < 0.08


def test_a_picture_of_one_grey_keeps_it_under_contrast_and_saturation() -> None:
    grey = np.full((16, 16, 3), 90, np.uint8)
    for factor in (0.75, 1.25):
        assert np.abs(jittered(grey, [1, factor, factor], range(3)).astype(int) - 90).max() <= 1


@pytest.mark.parametrize("original", [False, True])
def test_an_augmentation_can_be_sent_to_another_process(original: bool) -> None:
    import pickle

    augment = Augment(original=original)
    again = pickle.loads(pickle.dumps(augment))
    picture = pictures()[1]
    assert all(np.array_equal(augment(picture, seed_of(n)), again(picture, seed_of(n))) for n in range(8))
