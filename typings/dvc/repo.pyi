"""What the project uses of DVC's repository, its outputs and its remotes."""

from typing import Any, BinaryIO

class HashInfo:
    value: str | None

class Output:
    hash_name: str
    hash_info: HashInfo
    remote: str | None

class FileSystem:
    def size(self, path: str) -> int | None: ...
    def open(self, path: str, mode: str) -> BinaryIO: ...
    def get_file(self, from_info: str, to_info: str) -> None: ...

class ObjectDB:
    fs: FileSystem
    def oid_to_path(self, oid: str) -> str: ...

class DataCloud:
    def get_remote_odb(self, name: str | None, command: str, hash_name: str) -> ObjectDB: ...

class Repo:
    config: dict[str, Any]
    cloud: DataCloud
    def find_outs_by_path(self, path: str) -> list[Output]: ...
