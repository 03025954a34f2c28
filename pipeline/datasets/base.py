"""What every layout reader returns."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Drop

NO_LABEL = -1
"""Stands for a row whose label cannot be used."""

Labels = NDArray[np.int8]
"""Class index of each annotation row, or `NO_LABEL`. Row i belongs to frame i, both from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """The annotation of one person in one video."""

    name: str
    video: str
    subject: str
    split: str
    path: Path
    labels: Labels
    note: str = ""

    @property
    def labelled(self) -> int:
        """Frames with a usable label."""
        return int(np.count_nonzero(self.labels != NO_LABEL))


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Labelled frames (or a whole file, with `frames` 0) that were left out, and why."""

    trial: str
    split: str
    reason: Drop
    frames: int = 0
    detail: str = ""

    def row(self, stage: str) -> dict[str, object]:
        """This entry as a row of the drop table."""
        return {
            "stage": stage,
            "split": self.split,
            "trial": self.trial,
            "reason": str(self.reason),
            "frames": self.frames,
            "detail": self.detail,
        }


@dataclass(kw_only=True)
class RawSet:
    """A raw set as found on disk."""

    trials: list[Trial] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def drop_rows(dropped: Iterable[Dropped], stage: str) -> list[dict[str, object]]:
    """Entries as rows of the drop table, in a fixed order."""
    return sorted((entry.row(stage) for entry in dropped), key=lambda row: (str(row["trial"]), str(row["reason"])))
