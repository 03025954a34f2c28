"""Faces and five landmarks in whole frames: MTCNN (Zhang et al. 2016), facenet-pytorch's nets and weights.

The only user of facenet_pytorch and, in this package, of torch.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from pipeline.geometry import Detection, rounded
from pipeline.video import Image


class Detector:
    """Whole-frame MTCNN, on one device."""

    def __init__(self, *, min_face: int, device: str) -> None:
        """Loads the weights that the facenet-pytorch wheel carries.

        Args:
            min_face: side of the smallest face searched for, in pixels.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        """
        self.device = torch.device(resolve_device(device))
        self._min_face = min_face
        self._mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=self.device)

    def detect(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Faces of each picture, in MTCNN's order.

        On a GPU pictures of one size go through together; on a CPU a batch gains nothing and they go one by one.
        """
        alike = len({picture.shape for picture in pictures}) == 1
        if self.device.type != "cpu" and alike:
            return self._detect_stack(np.stack(pictures))
        return [found for picture in pictures for found in self._detect_stack(picture[None])]

    def _detect_stack(self, pictures: NDArray[np.uint8]) -> list[list[Detection]]:
        if min(pictures.shape[1:3]) < self._min_face:
            return [[] for _ in pictures]
        with warnings.catch_warnings():
            # facenet-pytorch stacks lists of unequal length (no face in some pictures) into object arrays.
            warnings.simplefilter("ignore")
            boxes, probabilities, points = self._mtcnn.detect(pictures, landmarks=True)
        return [_detections(*found) for found in zip(boxes, probabilities, points, strict=True)]


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
