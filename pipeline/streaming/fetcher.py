"""The process that fetches: a run starts it, tells it which shards its batches need, and hears when they are there.

A process of its own, because connections of remotes' libraries do not survive the forks of loader processes, and
because their work would take turns with the training's. Lines of JSON: in come `uses` (a new plan) and `at` (how far
batches are), out go `sets` (once, where the tables are), `ready` (so many uses of which plan are there) or `error`.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.ancestors import die_with_parent
from pipeline.contract import UserError
from pipeline.store import WorkStore
from pipeline.streaming.arrivals import Arrivals, arrivals
from pipeline.streaming.cache import CacheFullError, Pin, ShardCache
from pipeline.streaming.remote import RemoteFolder
from pipeline.streaming.schedule import ENTRY_BYTES, Use

_AHEAD = 4
"""Shards that are fetched before a batch asks for them: as many as are shuffled together."""

_LOOK_AGAIN_S, _PATIENCE_S = 0.5, 60.0
"""How often, and how long, a shard that is needed waits for other runs to let go of theirs."""


class Fetcher:
    """Holds the shards of a plan from before their first batch to after their last."""

    def __init__(self, arriving: Mapping[str, Arrivals], limit: int) -> None:
        """Serves several sets at once, by what the names of their shards begin with, from a cache of `limit` bytes."""
        self._arriving = arriving
        self._sizes = {
            begin + line["name"]: line["bytes"] + ENTRY_BYTES
            for begin, each in arriving.items()
            for line in each.manifest["shards"]
        }
        self._room = limit - sum(each.tables_bytes for each in arriving.values())
        self._number = 0
        self._plan: list[Use] = []
        self._pins: dict[int, Pin] = {}
        self._ready = self._done = self._asked = 0
        self._waits_since_s = 0.0

    def take(self, message: dict[str, Any]) -> None:
        """A new plan, or how far the present one is: batches before `done` are used, `asked` is asked for."""
        if "uses" in message:
            self.let_go()
            self._number, self._plan = message["plan"], [Use(*use) for use in message["uses"]]
            self._ready, self._done, self._asked = 0, 0, -1
            self._waits_since_s = 0.0
        else:
            self._done, self._asked = message["at"]
            for number in [number for number in self._pins if self._plan[number].last < self._done]:
                self._pins.pop(number).let_go()

    def step(self) -> dict[str, Any] | None:
        """Fetches the next shard, if it is time, and says how many are ready; None if there is nothing to do."""
        if self._ready == len(self._plan):
            return None
        use = self._plan[self._ready]
        early = use.first > self._asked
        if early and not self._may_go_ahead(use):
            return None
        if use.last >= self._done:
            try:
                self._pins[self._ready] = self._hold(use.shard)
            except CacheFullError:
                if early:
                    return None
                self._waits_since_s = self._waits_since_s or time.monotonic()
                if time.monotonic() - self._waits_since_s > _PATIENCE_S:
                    raise
                return None
        self._waits_since_s = 0.0
        self._ready += 1
        return {"ready": self._ready, "plan": self._number}

    def let_go(self) -> None:
        """Nothing is needed any more."""
        while self._pins:
            self._pins.popitem()[1].let_go()

    def _hold(self, shard: str) -> Pin:
        begin, slash, name = shard.rpartition("/")
        return self._arriving[begin + slash].hold(name)

    def _may_go_ahead(self, use: Use) -> bool:
        ahead = sum(self._plan[number].first > self._asked for number in self._pins)
        held = sum(self._sizes[self._plan[number].shard] for number in self._pins)
        return ahead < _AHEAD and held + self._sizes[use.shard] <= self._room


def _serve(arguments: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    cache = ShardCache(store=WorkStore(Path(arguments["cache"])), limit=arguments["limit"])
    arriving = {
        begin: arrivals(RemoteFolder(Path(folder), arguments["remote"]), cache)
        for begin, folder in arguments["folders"].items()
    }
    say({"sets": {begin: str(each.tables.folder) for begin, each in arriving.items()}})
    fetcher = Fetcher(arriving, cache.limit)
    waiting = b""
    said: dict[str, Any] | None = None
    while True:
        if select.select([0], [], [], 0 if said else _LOOK_AGAIN_S)[0]:
            received = os.read(0, 1 << 16)
            if not received:
                return
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                fetcher.take(json.loads(line))
        said = fetcher.step()
        if said is not None:
            say(said)


def main() -> None:
    """Serves the parent process until it closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a batch system signals all; the run that this works for decides
    arguments = json.loads(sys.argv[1])
    die_with_parent(arguments["parent"])
    parent = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no message

    def say(message: dict[str, Any]) -> None:
        parent.write(json.dumps(message) + "\n")
        parent.flush()

    try:
        _serve(arguments, say)
    except UserError as error:
        say({"error": str(error)})
    except OSError as error:
        told = disk.told(error)
        if told is None:
            raise
        say({"error": told})


if __name__ == "__main__":
    main()
