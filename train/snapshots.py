"""Snapshots of a run under way: entries of the work store, from which a killed run goes on at the very sample.

The work store promises that an entry is whole or absent, durable, and that damage shows (docs/decisions/013, 030).
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.sealed import damage
from pipeline.store import WorkStore
from train.tally import Tally

KIND = "snapshots"

_STATE, _WEIGHTS = "state.pt", "best.safetensors"
_KEPT = 2
_FORGOTTEN_S = 30 * 24 * 60 * 60
"""A run that nobody went on with for so long is given up."""


@dataclass
class Position:
    """How far a run is, and what it has measured so far; plain numbers.

    Attributes:
        epoch: from 0; the number of epochs when all is done.
        batch: batches of that epoch that are done.
        tally: sums of that epoch so far.
        seconds: time spent on that epoch so far.
        rows: of the epochs that are done.
    """

    epoch: int = 0
    batch: int = 0
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest validation F1, the later one of equals; None before the first has ended."""
        best = max(self.rows, key=lambda row: (row["val_f1"], row["epoch"]), default=None)
        return None if best is None else int(best["epoch"])


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One that was read back.

    Attributes:
        folder: the entry.
        position: where the run was.
        state: what was saved with it, on the CPU.
        best: the file with the best epoch's weights, or None before the first epoch has ended.
        age_s: how long ago it was taken.
    """

    folder: Path
    position: Position
    state: Mapping[str, Any]
    best: Path | None
    age_s: float


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one run in the work store.

    Attributes:
        store: where.
        run: digest of everything that determines the run's result: what is resumed is always the same run.
    """

    store: WorkStore
    run: str

    def save(self, position: Position, state: Mapping[str, Any]) -> None:
        """Keeps a state durably, then drops all but the last two.

        Args:
            position: where the run is.
            state: all else that resuming needs: tensors and plain containers of tensors, numbers and text.
        """
        content = {"position": asdict(position), "state": dict(state)}
        with self.store.building(KIND, f"{self.run}-e{position.epoch:06d}-b{position.batch:09d}") as folder:
            torch.save(content, folder / _STATE)
        for pattern in ("e", "best"):
            for old in self._folders(pattern)[:-_KEPT]:
                self.store.discard(old)

    def save_best(self, epoch: int, weights: bytes) -> None:
        """Keeps the weights of an epoch that is the best so far; to be called before `save` counts it as done."""
        with self.store.building(KIND, self._best(epoch)) as folder:
            (folder / _WEIGHTS).write_bytes(weights)

    def newest(self) -> Snapshot | None:
        """The last good one; damaged ones are removed, with a line on stderr, and so is what was best after it."""
        found = self._newest()
        for folder in self._folders("best"):
            if found is None or folder >= self.store.path(KIND, self._best(found.position.epoch)):
                self.store.discard(folder)
        return found

    def _newest(self) -> Snapshot | None:
        for folder in reversed(self._folders("e")):
            problem = damage(folder, thorough=True)
            if problem is None:
                snapshot = self.read(folder)
                if snapshot is not None:
                    return snapshot
                problem = "the weights of the best epoch are not there"
            print(f"train: snapshot {folder} is damaged ({problem}); it is left out", file=sys.stderr, flush=True)
            self.store.discard(folder)
        return None

    def drop(self) -> None:
        """Removes them all."""
        for pattern in ("e", "best"):
            for folder in self._folders(pattern):
                self.store.discard(folder)

    def read(self, folder: Path) -> Snapshot | None:
        """One snapshot; None if it, or the weights of its best epoch, are not there."""
        if not (folder / _STATE).exists():
            return None
        content = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        position = Position(**content["position"] | {"tally": Tally(**content["position"]["tally"])})
        best = None
        if position.best_epoch is not None:
            entry = self.store.find(KIND, self._best(position.best_epoch))
            if entry is None:
                return None
            if damage(entry, thorough=True):
                self.store.discard(entry)  # or it would stay in the way of the same weights, made again
                return None
            best = entry / _WEIGHTS
        age_s = time.time() - (folder / _STATE).stat().st_mtime
        return Snapshot(folder=folder, position=position, state=content["state"], best=best, age_s=age_s)

    def _best(self, epoch: int) -> str:
        return f"{self.run}-best{epoch:06d}"

    def _folders(self, pattern: str) -> list[Path]:
        """Oldest first."""
        return sorted(self.store.path(KIND, self.run).parent.glob(f"{self.run}-{pattern}[0-9]*"))


def drop_forgotten(store: WorkStore, *, now_s: float) -> None:
    """Removes the snapshots of runs that nobody has gone on with for thirty days."""
    for entry in store.entries():
        if entry.kind == KIND and now_s - entry.last_use_s > _FORGOTTEN_S:
            store.discard(entry.folder)
