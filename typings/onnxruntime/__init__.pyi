from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from numpy.typing import NDArray

class ModelMetadata:
    custom_metadata_map: dict[str, str]

class InferenceSession:
    def __init__(
        self, path_or_bytes: str | PathLike[str] | bytes, *, providers: Sequence[str] | None = ...
    ) -> None: ...
    def get_modelmeta(self) -> ModelMetadata: ...
    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...
