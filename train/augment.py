"""Random changes to training faces. The only user of albumentations, for the published code's form of them.

The paper's form is three cheap passes of our own: albumentations took as long as decoding the picture twice
(benchmarks/loader.py).
"""

import itertools
import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from pipeline.images import Image

JITTER = 0.25
"""Brightness, contrast and saturation vary by ± this share; the paper says colour jitter and names no strength."""


class Augment:
    """Horizontal flip and colour jitter (paper, section 4.2), drawn from a seed a picture.

    `compat: original` is the published code's: after the flip, with probability one half together, jitter of hue too
    and a shift by up to a tenth with a zoom of 1 to 1.25.
    """

    def __init__(self, *, original: bool) -> None:
        self._change: Callable[[Image, int], Image] = _Original() if original else _flipped_and_jittered

    def __call__(self, picture: Image, seed: int) -> Image:
        """A changed copy; the same picture and seed give the same result in any process.

        Args:
            picture: RGB.
            seed: evenly distributed over 64 bits or more, such as a digest's first bytes.
        """
        return self._change(picture, seed)


def jittered(picture: Image, factors: Sequence[float], order: Sequence[int]) -> Image:
    """Brightness, contrast and saturation times `factors`, one after another in `order`, each rounded to bytes.

    What torchvision's `ColorJitter` does, to within the rounding of its steps: a picture is blended with black, with
    the mean of its grey, and with its grey.
    """
    for kind in order:
        picture = _CHANGES[kind](picture, factors[kind])
    return picture


def resize(picture: Image, side: int) -> Image:
    """The picture at `side` x `side` pixels, averaged over areas."""
    if picture.shape[:2] == (side, side):
        return picture
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _flipped_and_jittered(picture: Image, seed: int) -> Image:
    """The seed is a digest: its bits are as good as drawn, and cost nothing."""
    seed, flip = divmod(seed, 2)
    seed, order = divmod(seed, len(_ORDERS))
    factors = []
    for _ in _CHANGES:
        seed, drawn = divmod(seed, _STEPS)
        factors.append(1 + JITTER * (2 * drawn / (_STEPS - 1) - 1))
    if flip:
        picture = _bytes(cv2.flip(picture, 1))
    return jittered(picture, factors, _ORDERS[order])


def _brightened(picture: Image, factor: float) -> Image:
    return _bytes(cv2.convertScaleAbs(picture, alpha=factor))


def _contrasted(picture: Image, factor: float) -> Image:
    mean = cv2.mean(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[0]
    return _bytes(cv2.addWeighted(picture, factor, picture, 0, (1 - factor) * mean))


def _saturated(picture: Image, factor: float) -> Image:
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _bytes(cv2.addWeighted(picture, factor, grey, 1 - factor, 0))


_CHANGES = (_brightened, _contrasted, _saturated)
_ORDERS = tuple(itertools.permutations(range(len(_CHANGES))))
_STEPS = 2**16
"""So many strengths of each change can be drawn; bytes know 128 of them."""


def _bytes(picture: cv2.typing.MatLike) -> Image:
    return picture.astype(np.uint8, copy=False)


class _Original:
    """The published code's changes, by albumentations. A class, so that it can be sent to worker processes."""

    def __init__(self) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version of itself
        import albumentations as A  # noqa: N812 - takes a second to load

        jitter = (1 - JITTER, 1 + JITTER)
        colour = A.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=(-JITTER, JITTER), p=1.0)
        move = A.Affine(
            translate_percent=(-0.1, 0.1), scale=(1.0, 1.25), keep_ratio=True, p=1.0, interpolation=cv2.INTER_LINEAR
        )
        self._compose = A.Compose([A.HorizontalFlip(p=0.5), A.Sequential([colour, move], p=0.5)])

    def __call__(self, picture: Image, seed: int) -> Image:
        self._compose.set_random_seed(seed % 2**32)
        return np.ascontiguousarray(self._compose(image=picture)["image"])
