"""Files that are whole or absent: atomic publishing, digests, the content-keyed work store, locks. Knows no domain."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.contract import UserError

_CHUNK = 1 << 20


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(*parts: Any) -> str:
    """SHA-256 of JSON-able values, independent of the order of mapping keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `path`; on success it is synced and takes the name, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, neighbour = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        Path(neighbour).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(neighbour).unlink()
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Publishes indented JSON with sorted keys. Raises ValueError on NaN or infinity, which JSON lacks."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with publishing(path) as stream:
        stream.write(text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """Reads JSON; raises `UserError` naming a file that is absent or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} not found; run `dvc repro`, or `dvc pull` if a teammate built it") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run `dvc repro`") from None


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces `path` as a whole when the block succeeds, and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:80]}."))
    try:
        building.chmod(0o755)
        yield building
        _sync_tree(building)
        if path.exists():
            shutil.rmtree(path)
        building.rename(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(root) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(root))


def link_or_copy(source: Path, target: Path) -> None:
    """Gives an immutable file a second name; copies where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class WorkStore:
    """Finished work by content key: a folder of read-only files, which exists only when all of them are complete.

    The key is a digest of whatever the work depends on, so an entry never goes stale and is never overwritten.
    """

    root: Path

    def find(self, kind: str, key: str) -> Path | None:
        """The entry's folder, or None if that work has not been finished."""
        folder = self.path(kind, key)
        return folder if folder.is_dir() else None

    def path(self, kind: str, key: str) -> Path:
        """Where the entry is, or will be once its work is finished."""
        return self.root / kind / key[:2] / key

    @contextlib.contextmanager
    def building(self, kind: str, key: str) -> Iterator[Path]:
        """A private folder that becomes the entry when the block succeeds; the first to finish wins a race."""
        folder = self.path(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}."))
        try:
            yield private
            for path in private.iterdir():
                path.chmod(0o444)
            _sync_tree(private)
            private.chmod(0o755)
            with contextlib.suppress(FileExistsError):
                _rename_new(private, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _rename_new(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(target) from None
        raise


def work_store() -> WorkStore:
    """The project's store: `data/work`, or the folder that the environment variable CCT_STORE names."""
    return WorkStore(Path(os.environ.get("CCT_STORE", "data/work")))


@contextlib.contextmanager
def exclusive_lock(path: Path, *, busy: str) -> Iterator[None]:
    """Holds an advisory lock for the block's length; the kernel frees it however the process ends.

    Raises:
        UserError: with the text `busy`, if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        yield
