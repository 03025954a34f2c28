"""Lists of single pictures, cut into stretches that stand in for videos: what AffectNet, RAF-DB and FERPlus share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Drop
from pipeline.datasets.base import NO_LABEL, Dropped, Pictures, Trial, told

STRETCH = 1000
"""Pictures that go through the pipeline together: few enough to be one task, many enough for few files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One line of a set's list: a picture, its class or why it has none, and what else is known of it."""

    name: str
    label: int | Drop
    detail: str = ""
    offset: int = -1
    box: Sequence[float] | None = None
    points: NDArray[np.float64] | None = None
    marks: dict[str, Any] = field(default_factory=dict)


def stretches(
    prefix: str, split: str, entries: Iterable[Entry], *, raw: Path, note: str = ""
) -> Iterator[tuple[Trial, list[Dropped]]]:
    """Trials `PREFIX-SPLIT-NNNN` of at most `STRETCH` lines each, in the list's order, and the lines without a label.

    A line's number in its stretch is its frame index, so that what is missing does not shift the others.
    """
    waiting = iter(entries)
    for number in count():
        some = list(islice(waiting, STRETCH))
        if not some:
            return
        name = f"{prefix}-{split}-{number:04d}"
        labels = np.array([NO_LABEL if isinstance(e.label, Drop) else e.label for e in some], dtype=np.int8)
        trial = Trial(
            name=name,
            video=name,
            subject="",
            split=split,
            path=raw,
            labels=labels,
            note=note,
            pictures=Pictures(
                names=tuple(entry.name for entry in some),
                offsets=np.array([entry.offset for entry in some], dtype=np.int64),
                boxes=_stacked([entry.box for entry in some], (4,)),
                points=_stacked([entry.points for entry in some], (5, 2)),
            ),
            marks=_columns(some),
        )
        yield trial, _excluded(trial, some)


def _columns(entries: Sequence[Entry]) -> dict[str, NDArray[Any]]:
    columns = {}
    for name in sorted({name for entry in entries for name in entry.marks}):
        columns[name] = np.empty(len(entries), dtype=object)
        for row, entry in enumerate(entries):
            columns[name][row] = entry.marks.get(name)
    return columns


def _stacked(values: Sequence[Any], shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    if all(value is None for value in values):
        return None
    unknown = np.full(shape, np.nan)
    return np.stack([unknown if value is None else np.array(value, dtype=np.float64) for value in values])


def _excluded(trial: Trial, entries: Sequence[Entry]) -> list[Dropped]:
    """The lines without a label, by reason."""
    reasons: dict[Drop, list[str]] = {}
    for entry in entries:
        if isinstance(entry.label, Drop):
            reasons.setdefault(entry.label, []).append(entry.detail)
    return [
        Dropped(trial=trial.name, split=trial.split, reason=reason, frames=len(details), detail=told(details))
        for reason, details in reasons.items()
    ]
