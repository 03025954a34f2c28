"""What to say when the disk is full or refuses: which file, which file system, how much is free."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

_ENDS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an error of the system that names no file (a failed write does not) the name of this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def ends_all(error: OSError) -> bool:
    """Whether the disk is to blame and not the item that met it: there is no room, or nothing may be written.

    A file that cannot be read is its item's failure: a disk that fails everywhere soon has too many of them.
    """
    return error.errno in _ENDS_ALL


def told(error: OSError) -> str | None:
    """What a disk refuses in one line that says what to do; None for any other error."""
    path = Path(str(error.filename or "."))
    if error.errno == errno.EDQUOT:
        return f"{path}: the disk quota is used up; free some space and start again: what is finished is kept"
    if error.errno == errno.ENOSPC:
        mount, free_bytes, all_bytes = _file_system(path)
        return (
            f"{path}: no space left on the file system at {mount} ({size(free_bytes)} of {size(all_bytes)} free now); "
            "free some and start again: what is finished is kept"
        )
    if error.errno == errno.EFBIG:
        return f"{path}: larger than the file system, or your limit on the size of files (`ulimit -f`), permits"
    if error.errno == errno.EIO:
        return f"{path}: the disk fails to read or write it ({error.strerror}); see the system's log"
    if error.errno in _NO_FOLDER:
        return f"{path}: not a folder, but a file or a link that leads nowhere (is its disk mounted?); put it right"
    if error.errno == errno.EISDIR:
        return f"{path}: a folder, where a file is needed; name a file"
    if error.errno in _REFUSED:
        return f"{path}: {error.strerror}; see to it that you may read and write there"
    return None


def _file_system(path: Path) -> tuple[Path, int, int]:
    """Where the file system of a path is mounted, and its free and whole size in bytes."""
    mount = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
    device = mount.stat().st_dev
    while mount != mount.parent and mount.parent.stat().st_dev == device:
        mount = mount.parent
    usage = shutil.disk_usage(mount)
    return mount, usage.free, usage.total


def size(count: float) -> str:
    """Bytes in words, in powers of ten as disks are sold: `1.5 GB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
