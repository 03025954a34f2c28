"""What the project uses of DVC's repository and its remotes."""

from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Self

class FileSystem:
    def size(self, path: str) -> int | None: ...
    def open(self, path: str, mode: str) -> BinaryIO: ...
    def get_file(self, from_info: str, to_info: str) -> None: ...

class ObjectDB:
    fs: FileSystem
    def oid_to_path(self, oid: str) -> str: ...

class Repo:
    config: Any
    cloud: Any
    cache: Any
    index: Any
    state: Any
    lock: AbstractContextManager[object]
    def __init__(self, root_dir: str | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *failure: object) -> None: ...
