"""Random changes to training faces. The only user of albumentations."""

import os

import cv2
import numpy as np

from pipeline.video import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version of itself

import albumentations as A  # noqa: N812

JITTER = 0.25
"""Brightness, contrast and saturation vary by ± this share; the paper says colour jitter and names no strength."""


class Augment:
    """Horizontal flip and colour jitter (paper, section 4.2), drawn from a seed a picture.

    `compat: original` is the published code's: after the flip, with probability one half together, jitter of hue too
    and a shift by up to a tenth with a zoom of 1 to 1.25.
    """

    def __init__(self, *, original: bool) -> None:
        jitter = (1 - JITTER, 1 + JITTER)
        colour = A.ColorJitter(
            brightness=jitter,
            contrast=jitter,
            saturation=jitter,
            hue=(-JITTER, JITTER) if original else (0, 0),
            p=1.0,
        )
        move = A.Affine(
            translate_percent=(-0.1, 0.1),
            scale=(1.0, 1.25),
            keep_ratio=True,
            p=1.0,
            interpolation=cv2.INTER_LINEAR,
        )
        changes: list[A.BasicTransform | A.BaseCompose] = [A.HorizontalFlip(p=0.5)]
        changes.append(A.Sequential([colour, move], p=0.5) if original else colour)
        self._compose = A.Compose(changes)

    def __call__(self, picture: Image, seed: int) -> Image:
        """A changed copy; the same picture and seed give the same result in any process."""
        self._compose.set_random_seed(seed)
        return np.ascontiguousarray(self._compose(image=picture)["image"])


def resize(picture: Image, side: int) -> Image:
    """The picture at `side` x `side` pixels, averaged over areas."""
    if picture.shape[:2] == (side, side):
        return picture
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
