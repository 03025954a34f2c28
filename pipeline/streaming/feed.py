"""A run's side of streaming: the shards of each batch are in the cache before anybody is asked to read them."""

import contextlib
import json
import os
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pipeline.contract import UserError
from pipeline.shards.joined import prefix
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader
from pipeline.store import WorkStore
from pipeline.streaming import fetcher
from pipeline.streaming.arrivals import SHARD, SHARDS
from pipeline.streaming.schedule import require_room, uses

_MAIN = ""
"""What the names of the main set's shards begin with."""


@dataclass(frozen=True, kw_only=True)
class StreamedSet:
    """One of the shard sets of a feed.

    Attributes:
        folder: its manifest and tables, verified.
        places: where each shard is while a batch that needs it is under way.
        sizes: bytes of each shard.
    """

    folder: Path
    places: Mapping[str, Path]
    sizes: Mapping[str, int]


class Feed:
    """Shard sets that are streamed together. Not to be used by loader processes: they only open what is there.

    Attributes:
        others: sets that are mixed with the main one, by name; their shards are asked for as `JoinedReader` names them.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", cache: Path, limit: int, others: Iterable[str]) -> None:
        self._process, self._limit = process, limit
        sets = {begin: _arrived(Path(folder), WorkStore(cache)) for begin, folder in self._hear()["sets"].items()}
        self._main = sets[_MAIN]
        self.others = {name: sets[prefix(name)] for name in others}
        self._sizes = {begin + name: size for begin, each in sets.items() for name, size in each.sizes.items()}
        self._taken = sum(path.stat().st_size for each in sets.values() for path in each.folder.iterdir())
        self._firsts: list[int] = []
        self._turns: set[int] = set()
        self._number = self._ready = self._done = 0
        self._asked = -1

    @property
    def folder(self) -> Path:
        """The main set's manifest and tables, verified."""
        return self._main.folder

    @property
    def places(self) -> Mapping[str, Path]:
        """Where each shard of the main set is while a batch that needs it is under way."""
        return self._main.places

    def begin(
        self, batches: Sequence[Iterable[str]], *, in_flight: int = 0, together: Sequence[Iterable[str]] | None = None
    ) -> None:
        """Announces the shards of each of the coming batches; what was announced before is over.

        Args:
            batches: names of the shards that each reads.
            in_flight: how many batches are asked for before the first of them is done with.
            together: names of the shards that everybody who shares the cache reads for each; None: nobody else.

        Raises:
            UserError: if the cache cannot hold what is read at once.
        """
        plan = uses(batches)
        all_uses = plan if together is None else uses(together)
        require_room(all_uses, self._sizes, in_flight=in_flight, limit=self._limit, taken=self._taken)
        self._firsts = [use.first for use in plan]
        self._turns = {*self._firsts, *(use.last + 1 for use in plan)}
        self._number, self._ready, self._done, self._asked = self._number + 1, 0, 0, -1
        self._tell({"plan": self._number, "uses": plan})

    def wait(self, batch: int) -> None:
        """Returns when all shards of a batch are there; raises `UserError` if they cannot be had."""
        self._asked = batch
        if batch in self._turns:
            self._tell({"at": (self._done, self._asked)})
        while self._ready < bisect_right(self._firsts, batch):
            message = self._hear()
            if message["plan"] == self._number:
                self._ready = message["ready"]

    def done(self, batch: int) -> None:
        """All batches up to this one have been read."""
        self._done = batch + 1
        if self._done in self._turns:
            self._tell({"at": (self._done, self._asked)})

    def each(self, batches: Sequence[Iterable[str]]) -> Iterator[int]:
        """The numbers of batches one by one; the shards of each are there until the next one is asked for."""
        self.begin(batches)
        for number in range(len(batches)):
            self.wait(number)
            yield number
            self.done(number)

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its last words are still to be heard
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise UserError(f"the process that fetches shards ended (exit code {code}); start again to go on")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise UserError(message["error"])
        return message


def _arrived(folder: Path, store: WorkStore) -> StreamedSet:
    lines = read_manifest(folder)["shards"]
    return StreamedSet(
        folder=folder,
        places={line["name"]: store.path(SHARDS, line["sha256"]).absolute() / SHARD for line in lines},
        sizes={line["name"]: line["bytes"] for line in lines},
    )


@contextlib.contextmanager
def feeding(
    folder: Path, *, remote: str | None, cache_gb: float, others: Mapping[str, Path] = MappingProxyType({})
) -> Iterator[Feed]:
    """Streams a shard set, and others together with it, for the block's length.

    Args:
        folder: of the set in the project; need not be there, but the file that names it (`shards.naming`).
        remote: its name; None for the default one.
        cache_gb: of the cache, in GB.
        others: the same of other sets, by name.
    """
    cache, limit = cache_folder(), int(cache_gb * 1e9)
    folders = {_MAIN: str(folder)} | {prefix(name): str(other) for name, other in others.items()}
    asked = {"folders": folders, "remote": remote, "cache": str(cache), "limit": limit, "parent": os.getpid()}
    process = subprocess.Popen(
        [sys.executable, "-m", fetcher.__name__, json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is for the run, which ends it
    )
    with process:
        try:
            yield Feed(process, cache, limit, others)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()


def cache_folder() -> Path:
    """Where streamed shards are kept: CCT_STREAM_CACHE, or a folder of the user's that all runs and clones share."""
    named = os.environ.get("CCT_STREAM_CACHE")
    return Path(named or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cct" / "shards")


def visited(reader: ShardReader, positions: Sequence[int], feed: Feed | None) -> Iterator[int]:
    """These positions one by one; the shard of each can be read until the next one is asked for, streamed or not.

    Args:
        reader: of the split; of `feed` if there is one.
        positions: best in stored order, so that each shard comes once.
        feed: what brings the shards, if they are streamed.
    """
    shards = [reader.shards(np.array([position])) for position in positions] if feed else []
    for turn in feed.each(shards) if feed else range(len(positions)):
        yield positions[turn]
        reader.rest()
