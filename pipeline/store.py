"""The content-keyed work store: finished work of earlier runs, kept between them. Knows no domain."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.contract import UserError
from pipeline.disk import naming
from pipeline.files import sync_folder, sync_tree
from pipeline.locks import claim, remove, unless_claimed
from pipeline.sealed import LISTING, damage, seal

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_UNFINISHED = "unfinished"
_RUN = "run"
_READ = 0o444
_READ_WRITE = 0o666


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one piece of finished work occupies. `last_use_s` is a time since the epoch by the file system's clock."""

    kind: str
    key: str
    folder: Path
    size_bytes: int
    last_use_s: float
    is_linked: bool
    """Whether a file of it has a second name: a folder assembled from the store uses it."""


@dataclass(frozen=True)
class WorkStore:
    """Finished work by content key: a sealed folder of files, which exists only when all of them are complete.

    The key is a digest of whatever the work depends on, so an entry never goes stale and is never written again; its
    folder's time of change is that of its last use. Half-made and removed entries are in a folder of their own.
    Everything has the permissions of the root, whatever the umask, so that a group can share a store.
    """

    root: Path

    def path(self, kind: str, key: str) -> Path:
        """Where the entry is, or will be once its work is finished."""
        return self.root / kind / key[:2] / key

    def find(self, kind: str, key: str) -> Path | None:
        """The entry's folder, or None if that work has not been finished.

        One that is damaged, as far as can be told without reading it all, is removed, with a line on stderr.
        """
        folder = self.path(kind, key)
        if not folder.is_dir():
            return None
        problem = damage(folder, thorough=False)
        if problem is None:
            with contextlib.suppress(OSError):
                os.utime(folder)
            return folder
        try:
            removed = self.discard(folder)
        except OSError as error:
            raise UserError(f"{folder} is damaged ({problem}); remove it: this run cannot ({error.strerror})") from None
        if removed:
            print(f"work store: {folder} was damaged ({problem}); it is made anew", file=sys.stderr, flush=True)
        return None

    @contextlib.contextmanager
    def building(self, kind: str, key: str) -> Iterator[Path]:
        """A private folder for files that becomes the entry when the block succeeds; the first to finish wins a race.

        What a killed builder leaves is left to `sweep`. An error of the disk names the entry.
        """
        folder = self.path(kind, key)
        with naming(folder), self._needed(), self._private(key) as (private, listing):
            yield private
            seal(private, listing, mode=self._mode() & _READ)
            sync_tree(private)
            self._make_folder(folder.parent)
            try:
                private.rename(folder)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            sync_folder(folder.parent)

    @contextlib.contextmanager
    def _needed(self) -> Iterator[None]:
        """What must be written here and may not be is as if the file system were read-only: no fault of the work."""
        try:
            yield
        except OSError as error:
            if error.errno in _READ_ONLY and Path(str(error.filename)).is_relative_to(self.root):
                raise OSError(errno.EROFS, error.strerror, error.filename) from None
            raise

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Marks the store as used by a run: until the block ends, nothing that is used from now on can be pruned.

        Sweeps it before and after, too. A store that may only be read is not marked.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._private(_RUN))
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
            self.sweep()
            stack.callback(self.sweep)
            yield

    def runs_began_s(self) -> list[float]:
        """When the runs that use the store now began, by the clock of its file system."""
        began: list[float] = []
        for mark in (self.root / _UNFINISHED).glob(f"{_RUN}.*"):
            with contextlib.suppress(FileNotFoundError):
                began.append((mark / LISTING).stat().st_mtime)
        return began

    def entries(self) -> Iterator[Entry]:
        """All entries; those that vanish meanwhile are left out."""
        for folder in sorted(self.root.glob("*/[0-9a-f][0-9a-f]/*")):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                stats = [path.stat() for path in folder.iterdir()]
                yield Entry(
                    kind=folder.parent.parent.name,
                    key=folder.name,
                    folder=folder,
                    size_bytes=sum(each.st_size for each in stats),
                    last_use_s=folder.stat().st_mtime,
                    is_linked=any(each.st_nlink > 1 for each in stats),
                )

    def discard(self, folder: Path) -> bool:
        """Removes an entry: first its name, at once, then its files. Who has them open, or linked, keeps them.

        Returns:
            False if it was gone already.
        """
        private = self._make_folder(self.root / _UNFINISHED) / f"{folder.name}.{secrets.token_hex(4)}"
        try:
            folder.rename(private)
        except FileNotFoundError:
            return False
        remove(private)
        return True

    def sweep(self) -> None:
        """Removes what killed runs left unfinished, and nothing that any run on any machine still works on."""
        for private in (self.root / _UNFINISHED).glob("*"):
            with contextlib.suppress(OSError):
                inside = {path.name for path in private.iterdir()}
                if LISTING in inside:
                    unless_claimed(private, remove, claimed=private / LISTING)
                elif inside:
                    remove(private)  # the listing is made first: this is what is left of a removal
                else:
                    private.rmdir()  # if it was just made, its maker will make another

    @contextlib.contextmanager
    def _private(self, name: str) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new folder under the claim of this process, and its listing, open to be written."""
        with contextlib.ExitStack() as stack:
            claimed = False
            while not claimed:
                private = self._make_folder(self.root / _UNFINISHED) / f"{name}.{secrets.token_hex(4)}"
                stack.callback(remove, private)
                self._make_folder(private)
                with contextlib.suppress(FileNotFoundError):  # swept while it was empty
                    listing = stack.enter_context((private / LISTING).open("xb"))
                    os.fchmod(listing.fileno(), self._mode() & _READ_WRITE)
                    claimed = claim(listing.fileno(), private / LISTING)
            yield private, listing

    def _make_folder(self, folder: Path) -> Path:
        """Makes a folder of the store with the permissions of the root, and its parents."""
        if not folder.is_dir():
            if folder == self.root:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                self._make_folder(folder.parent)
                with contextlib.suppress(FileExistsError):
                    folder.mkdir()
                    folder.chmod(self._mode())
        return folder

    def _mode(self) -> int:
        return stat.S_IMODE(self.root.stat().st_mode)


def work_store() -> WorkStore:
    """The project's store: `data/work`, or the folder that the environment variable CCT_STORE names."""
    return WorkStore(Path(os.environ.get("CCT_STORE") or "data/work"))
