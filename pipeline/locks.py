"""Advisory locks that the kernel frees however their holder ends: one run at a time, and who still makes something."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.contract import UserError

_DAY_S = 24 * 60 * 60
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)
"""What file systems without locks answer, and NFS for a folder."""


@contextlib.contextmanager
def exclusive_lock(path: Path, *, busy: str) -> Iterator[None]:
    """Holds an advisory lock for the block's length; the kernel frees it however the process ends.

    Raises:
        UserError: with the text `busy`, if another process holds it, or if the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise UserError(f"{path}: this file system has no file locks; put the project on one that has") from None
        yield


def claim(descriptor: int, path: Path) -> bool:
    """Marks a file or folder that was just made as being worked on, until the descriptor is closed.

    Returns:
        False if somebody took it for abandoned in between and removes it; make another one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def unless_claimed(path: Path, act: Callable[[Path], None], *, claimed: Path | None = None) -> None:
    """Calls `act` on a half-made file or folder if nobody works on it any more.

    Its maker holds a claim on it, or on the file `claimed` inside. Where that cannot be seen (no locks, not made yet,
    not ours to read), it counts as abandoned if nothing in it has changed for a day.
    """
    try:
        descriptor = os.open(claimed or path, os.O_RDONLY)
    except OSError:
        if _is_old(path):
            act(path)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        abandoned = True
    except OSError as error:
        abandoned = error.errno in NO_LOCKS and _is_old(path)
    try:
        if abandoned:
            act(path)  # while the lock is held, so that its maker cannot claim it meanwhile
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_old(path: Path) -> bool:
    try:
        inside = path.iterdir() if path.is_dir() else []
        return time.time() - max(each.lstat().st_mtime for each in (path, *inside)) > _DAY_S
    except OSError:
        return False
