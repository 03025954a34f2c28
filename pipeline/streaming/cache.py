"""The cache of streamed shards: by content, of bounded size, shared by processes; who was killed holds nothing up.

Entries are those of the work store (docs/decisions/013): whole or absent, damage noticed. Added here is who needs
which entry (a shared lock that its user holds), that one process fetches and the others wait (an exclusive one), and
that what was not used for longest goes when room is needed. The kernel frees locks however their holder ends.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.contract import UserError
from pipeline.disk import size as told_size
from pipeline.locks import NO_LOCKS
from pipeline.store import Entry, WorkStore
from pipeline.streaming.schedule import ENTRY_BYTES

_LOCKS = "locks"


class CacheFullError(UserError):
    """What is in use leaves no room; it may be free again later."""


class Pin:
    """While it is held, its entry is not removed; ends with the process, or when it is let go."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    def let_go(self) -> None:
        """The entry may be removed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()


@dataclass(frozen=True, kw_only=True)
class ShardCache:
    """Fetched files by content, at most `limit` bytes of them, of which those in use stay."""

    store: WorkStore
    limit: int

    def hold(self, kind: str, key: str, size: int, fetch: Callable[[Path], None]) -> Pin:
        """Sees to it that an entry is there and stays.

        Args:
            kind: of the entry.
            key: digest of its content.
            size: bytes that it takes.
            fetch: writes its files, verified, into the folder that it is given. Called by one process at a time.

        Raises:
            CacheFullError: if too much is in use.
        """
        pin = Pin(self.store.path(kind, key), self._opened(f"{kind}-{key}.use", fcntl.LOCK_SH))
        try:
            if self.store.find(kind, key) is None:
                with self._locked(f"{kind}-{key}.fetch") as own:
                    if self.store.find(kind, key) is None:
                        with self._room(own, size), self.store.building(kind, key) as folder:
                            fetch(folder)
        except BaseException:
            pin.let_go()
            raise
        return pin

    @contextlib.contextmanager
    def _room(self, own: int, size: int) -> Iterator[None]:
        """Reserves room: the number of bytes is in the lock that whoever fetches holds."""
        needed = size + ENTRY_BYTES
        with self._locked("room"):
            self._make_room(needed)
            os.pwrite(own, b"%d" % needed, 0)
        try:
            yield
        finally:
            os.ftruncate(own, 0)

    def _make_room(self, needed: int) -> None:
        entries = sorted(self.store.entries(), key=lambda entry: entry.last_use_s)
        taken = sum(entry.size_bytes for entry in entries) + self._under_way()
        for entry in entries:
            if taken + needed <= self.limit:
                return
            if self._removed(entry):
                taken -= entry.size_bytes
        if taken + needed > self.limit:
            raise CacheFullError(
                f"{self.store.root} may hold {told_size(self.limit)} (stream_cache_gb), and runs that are under way "
                "use so much of it that nothing more fits in; wait for them, or set stream_cache_gb higher"
            )

    def _removed(self, entry: Entry) -> bool:
        """Removes an entry unless it is in use."""
        try:
            descriptor = self._opened(f"{entry.kind}-{entry.key}.use", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            self.store.discard(entry.folder)
        finally:
            os.close(descriptor)
        return True

    def _under_way(self) -> int:
        """Bytes that are reserved by those who fetch now."""
        total = 0
        for path in (self.store.root / _LOCKS).glob("*.fetch"):
            if path.stat().st_size:
                try:
                    os.close(self._opened(path.name, fcntl.LOCK_EX | fcntl.LOCK_NB))  # left by somebody killed
                except BlockingIOError:
                    total += int(path.read_bytes() or b"0")
        return total

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[int]:
        descriptor = self._opened(name, fcntl.LOCK_EX)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _opened(self, name: str, kind: int) -> int:
        """A file under a lock; raises BlockingIOError if that cannot be had at once and `kind` says not to wait."""
        folder = self.store.root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, self.store.root.stat().st_mode & 0o666)  # as the store: whatever the umask
        try:
            fcntl.flock(descriptor, kind)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in NO_LOCKS:
                raise UserError(
                    f"{path}: this file system has no file locks; set CCT_STREAM_CACHE to a folder on one that has"
                ) from None
            raise
        return descriptor
