"""What every layout reader returns."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Drop

NO_LABEL = -1
"""Stands for a row whose label cannot be used."""

_MOST_TOLD = 3

Labels = NDArray[np.int8]
"""Class index of each annotation row, or `NO_LABEL`. Row i belongs to frame i, both from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures that stand in for a video's frames: one a row of the annotation, R rows."""

    names: tuple[str, ...]
    """Files relative to the raw set's folder, R; they need not exist. Empty where a row has no picture."""
    offsets: NDArray[np.int64] | None = None
    """Where each picture's pixels begin in the table of pixels that its name is, R; None if pictures are files."""
    boxes: NDArray[np.float64] | None = None
    """The face that the set's makers give, R x 4 (x0, y0, x1, y1) in pixels; NaN where unknown."""
    points: NDArray[np.float64] | None = None
    """Its five landmarks, R x 5 x 2."""
    beyond: int = 0
    """How many rows more there would be if every picture that is there had one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """The annotation of one person in one video, or of a stretch of a list of pictures."""

    name: str
    video: str
    subject: str
    split: str
    path: Path
    labels: Labels
    note: str = ""
    pictures: Pictures | None = None
    """Where the frames come from, if not from the video `path`."""
    marks: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else is known of each row: columns of `marks.MARK_COLUMNS`, each R long."""

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


def one_spelling(text: str) -> str:
    """Of a name: accents composed (systems differ in that), bytes that are not UTF-8 as `\\xNN`."""
    return unicodedata.normalize("NFC", os.fsencode(text).decode(errors="backslashreplace"))


def told(details: Iterable[str]) -> str:
    """Many details in one: the most frequent few with their counts."""
    counts = Counter(details).most_common()
    shown = [detail if count == 1 else f"{count} x {detail}" for detail, count in counts[:_MOST_TOLD]]
    more = sum(count for _, count in counts[_MOST_TOLD:])
    return "; ".join([*shown, *[f"and {more} more"] * bool(more)])


def because(dropped: Iterable[Dropped]) -> str:
    """What left out most, each reason with one of its details, to end a line with; or nothing."""
    reasons: dict[Drop, list[Dropped]] = {}
    for entry in dropped:
        reasons.setdefault(entry.reason, []).append(entry)
    most = sorted(reasons.items(), key=lambda item: sum(entry.frames for entry in item[1]), reverse=True)[:_MOST_TOLD]
    said = []
    for reason, entries in most:
        detail = next((entry.detail for entry in entries if entry.detail), "")
        said.append(f"{len(entries)} x {reason}" + f" ({detail})" * bool(detail))
    return f": {'; '.join(said)}" if said else ""


def drop_rows(dropped: Iterable[Dropped], stage: str) -> list[dict[str, object]]:
    """Entries as rows of the drop table, in a fixed order."""
    return sorted((entry.row(stage) for entry in dropped), key=lambda row: (str(row["trial"]), str(row["reason"])))
