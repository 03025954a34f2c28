"""How the cache's files get into the folder, and where this process may write; found out by doing it."""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.findings import Finding, fail, ok, warn

LINKS = ("reflink", "hardlink", "symlink", "copy")
_FICLONE = 0x40049409
"""Linux's ioctl that gives a file the blocks of another one (Btrfs, XFS, ...)."""


def link_type(cache: Path, wanted: Sequence[str]) -> list[Finding]:
    """What DVC gets when it links from its cache: the first of the wanted ways that works between the two folders.

    Args:
        cache: DVC's cache folder; it need not exist.
        wanted: ways in order of preference, `cache.type` of DVC's configuration.
    """
    try:
        with _probe(_nearest(cache)) as source:
            found = next((way for way in wanted if _works(way, source)), "copy")
    except OSError as error:
        mend = "ask its owner for a place in its group, or: dvc cache dir --local FOLDER"
        return [fail("cache links", f"the cache at {cache} cannot be written ({error.strerror})", mend)]
    told = f"{found} between the cache at {cache} and this folder"
    if found == "copy":
        mend = "dvc cache dir --local FOLDER on this file system; dvc config cache.type reflink,hardlink,symlink,copy"
        return [warn("cache links", f"{told}: every shard set takes its room twice", mend)]
    if found == "symlink":
        return [ok("cache links", f"{told}: the data is there as long as the cache is")]
    return [ok("cache links", f"{told}: nothing takes its room twice")]


def permissions(folders: Mapping[str, Path]) -> list[Finding]:
    """Whether files can be made in folders, or in the nearest folder that would hold them."""
    findings = []
    for name, folder in folders.items():
        try:
            with _probe(_nearest(folder)):
                continue
        except OSError as error:
            place = _nearest(folder)
            mend = f"see to it that you may write there: ls -ld {place}; sudo chown -R $USER {place}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                mend = f"free some space: df -h {place}; cct store prune --older-than 30d"
            findings.append(fail("permissions", f"{name}: cannot write in {place} ({error.strerror})", mend))
    return findings or [ok("permissions", f"may write in {', '.join(folders)}")]


def _works(way: str, source: Path) -> bool:
    target = Path(f".cct-doctor-{secrets.token_hex(4)}")
    ways: dict[str, Callable[[Path, Path], None]] = {"reflink": _reflink, "hardlink": os.link, "symlink": os.symlink}
    if way not in ways:
        return way == "copy"
    try:
        ways[way](source.absolute(), target)
        return target.read_bytes() == source.read_bytes()
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            target.unlink()


def _reflink(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """A small file in a folder, for as long as the block lasts."""
    path = folder / f".cct-doctor-{secrets.token_hex(4)}"
    try:
        path.write_bytes(b"probe")
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one around it that exists."""
    absolute = folder.absolute()
    return next(each for each in (absolute, *absolute.parents) if each.is_dir())
