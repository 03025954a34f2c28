from typing import Any

import torch
from numpy.typing import NDArray

class MTCNN(torch.nn.Module):
    pnet: torch.nn.Module
    rnet: torch.nn.Module
    onet: torch.nn.Module
    thresholds: list[float]
    min_face_size: int
    def __init__(
        self,
        *,
        min_face_size: int = ...,
        thresholds: list[float] = ...,
        keep_all: bool = ...,
        select_largest: bool = ...,
        device: torch.device | None = ...,
    ) -> None: ...
    def detect(self, img: NDArray[Any], landmarks: bool = ...) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
