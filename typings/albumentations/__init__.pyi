from collections.abc import Sequence
from typing import Any

class BasicTransform: ...

class BaseCompose:
    def set_random_seed(self, seed: int | None) -> None: ...

class Compose(BaseCompose):
    def __init__(self, transforms: Sequence[BasicTransform | BaseCompose], *, seed: int | None = ...) -> None: ...
    def __call__(self, **data: Any) -> dict[str, Any]: ...

class Sequential(BaseCompose):
    def __init__(self, transforms: Sequence[BasicTransform | BaseCompose], p: float = ...) -> None: ...

class HorizontalFlip(BasicTransform):
    def __init__(self, p: float = ...) -> None: ...

class ColorJitter(BasicTransform):
    def __init__(
        self,
        *,
        brightness: tuple[float, float] = ...,
        contrast: tuple[float, float] = ...,
        saturation: tuple[float, float] = ...,
        hue: tuple[float, float] = ...,
        p: float = ...,
    ) -> None: ...

class Affine(BasicTransform):
    def __init__(
        self,
        *,
        translate_percent: tuple[float, float] = ...,
        scale: tuple[float, float] = ...,
        keep_ratio: bool = ...,
        interpolation: int = ...,
        p: float = ...,
    ) -> None: ...
