"""Files and folders that are whole or absent: atomic publishing, digests, links. Knows no domain."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.contract import UserError
from pipeline.disk import naming
from pipeline.locks import claim, remove, unless_claimed

_PARTIAL = ".partial"
_FORMER = ".former"
_NAME_LENGTH = 50  # of 255 bytes, of which a letter takes up to four

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def digest_file(path: Path, kind: str = "sha256") -> str:
    """SHA-256 of a file's bytes, or another digest that hashlib knows, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def walk(folder: Path) -> Iterator[Path]:
    """Every file and folder below one, at any depth. Links to folders are entered, after others; each folder once."""
    entered: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        yield from (Path(here, name) for name in sorted((*folders, *names)))
        new = []
        for path in sorted((Path(here, name) for name in folders), key=lambda path: (path.is_symlink(), path)):
            with contextlib.suppress(OSError):
                status = path.stat()
                if (place := (status.st_dev, status.st_ino)) not in entered:
                    entered.add(place)
                    new.append(path.name)
        folders[:] = new


def digest_of(*parts: Any) -> str:
    """SHA-256 of JSON-able values, independent of the order of mapping keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `path`; on success it is synced and takes the name, else it is removed.

    The temporary file of a killed process is left to `sweep`. An error of the disk names `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial_file(path) as (stream, partial):
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def _partial_file(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    while True:
        partial = _partial(path)
        with partial.open("xb") as stream:
            try:
                if claim(stream.fileno(), partial):
                    yield stream, partial
                    return
            except BaseException:
                remove(partial)
                raise


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name[:_NAME_LENGTH]}.{secrets.token_hex(4)}{_PARTIAL}")


def write_json(path: Path, value: Any) -> None:
    """Publishes `json_text`."""
    with publishing(path) as stream:
        stream.write(json_text(value))


def json_text(value: Any) -> bytes:
    """Indented JSON with sorted keys. Raises ValueError on NaN or infinity, which JSON lacks."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False).encode() + b"\n"


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
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


def sync_tree(folder: Path) -> None:
    """Makes a folder durable with all files in it."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root, name) for name in names), Path(root)):
            with _opened(path) as descriptor:
                os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces `path` as a whole when the block succeeds, and vanishes when it fails.

    Whoever is killed meanwhile leaves the former folder or the new one. What is left over then is left to `sweep`.
    """
    with naming(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = stack.enter_context(_partial_folder(path))
        yield partial
        sync_tree(partial)
        _replace_folder(partial, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    while True:
        partial = _partial(path)
        partial.mkdir()
        try:
            with _opened(partial) as descriptor:
                if claim(descriptor, partial):
                    yield partial
                    return
        finally:
            remove(partial)


def _replace_folder(new: Path, path: Path) -> None:
    """Renames `new` to `path`. A folder that had the name goes in the same step, where the file system can do that."""
    try:
        new.rename(path)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
    else:
        return
    if _exchange(new, path):
        return
    former = path.with_name(f".{path.name}{_FORMER}")
    with _opened(path) as descriptor:
        claim(descriptor, path)
        path.rename(former)
        new.rename(path)
    remove(former)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names at once; False where the system or the file system (NFS) cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def sweep(folder: Path) -> None:
    """Removes what killed runs left half-made in a folder, and nothing that somebody still works on."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        unless_claimed(partial, remove)
    for former in folder.glob(f".*{_FORMER}"):
        unless_claimed(former, _remove_or_restore)


def _remove_or_restore(former: Path) -> None:
    """A folder that was moved aside for its successor gets its name back if the successor never came."""
    path = former.with_name(former.name[1 : -len(_FORMER)])
    if path.exists():
        remove(former)
    else:
        former.rename(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Gives an immutable file a second name; copies where the file system, or the file's owner, permits no link.

    Raises:
        UserError: if the source has vanished.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        if source.exists():
            raise
        raise UserError(f"{source} was removed while it was in use; run `dvc repro` again: it makes it anew") from None
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        with naming(target):
            shutil.copyfile(source, target)
