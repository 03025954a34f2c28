from contextlib import AbstractContextManager
from typing import Any, Self

class Repo:
    config: Any
    cloud: Any
    cache: Any
    index: Any
    state: Any
    lock: AbstractContextManager[object]
    def __init__(self, root_dir: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *failure: object) -> None: ...
