"""A review: the suspects, their pictures, and the decisions made so far. Knows no HTTP."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.contract import CLASSES, UserError
from pipeline.overrides import DECISIONS, UNDO, Judged, Override, append_override, in_force, now, read_overrides
from pipeline.shards.reading import ShardReader

_INSIDE, _BESIDE = 9, 3
"""Most pictures of a stretch itself, and of the frames before and after it."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture of a suspect: its place in the shard set's split, its frame, whether the label in question is its."""

    position: int
    frame_index: int
    inside: bool


class Session:
    """The state of a review, shared by every page that is open. Decisions are on the disk before they are answered."""

    def __init__(
        self, *, suspects: pd.DataFrame, reader: ShardReader, overrides: Path, who: str, classes: Sequence[str]
    ) -> None:
        """Takes the suspects in their order (`suspect_columns`), and the decisions that were made before."""
        self.classes = list(classes)
        self._reader, self._overrides, self._who = reader, overrides, who
        self._suspects = suspects.to_dict("records")
        self._lock = threading.Lock()
        self._log: list[tuple[int, str]] = []
        held: dict[Judged, Override] = {}
        for dataset in suspects["dataset"].unique():
            held |= in_force(read_overrides(overrides, str(dataset)))
        keys = [(*_stretch(row), str(row["given"])) for row in self._suspects]
        self._decisions = [held[key].decision if key in held else "" for key in keys]
        self._shown = _chosen(reader.samples, self._suspects)
        self._known = {picture.position for pictures in self._shown for picture in pictures}

    def state(self) -> dict[str, Any]:
        """Everything that a page needs, as JSON-able values."""
        with self._lock:
            return {
                "classes": self.classes,
                "items": [self._item(number) for number in range(len(self._suspects))],
                "version": len(self._log),
            }

    def changes(self, since: int) -> dict[str, Any]:
        """Decisions of other pages: those logged from `since` on."""
        with self._lock:
            return {"version": len(self._log), "decisions": self._log[max(0, since) :]}

    def decide(self, number: int, decision: str) -> dict[str, Any]:
        """Writes one decision down, then answers with the log's new length.

        Raises:
            UserError: if there is no such suspect or decision.
        """
        if not 0 <= number < len(self._suspects):
            raise UserError(f"there is no suspect {number}")
        if decision not in DECISIONS or (decision in CLASSES and decision not in self.classes):
            raise UserError(f"{decision!r} is no decision")
        row = self._suspects[number]
        with self._lock:
            trial, first_frame, last_frame = _stretch(row)
            override = Override(
                dataset=str(row["dataset"]),
                trial=trial,
                first_frame=first_frame,
                last_frame=last_frame,
                given=str(row["given"]),
                decision=decision,
                who=self._who,
                when=now(),
            )
            append_override(self._overrides, override)
            self._decisions[number] = "" if decision == UNDO else decision
            self._log.append((number, self._decisions[number]))
            return {"version": len(self._log), "decision": self._decisions[number]}

    def picture(self, position: int) -> bytes | None:
        """A shown picture's JPEG; None for any other."""
        with self._lock:  # the reader's open files are not for several threads
            return self._reader.jpeg(position) if position in self._known else None

    def counts(self) -> dict[str, int]:
        """How many suspects there are, and how many are decided."""
        return {"suspects": len(self._suspects), "decided": sum(map(bool, self._decisions))}

    def _item(self, number: int) -> dict[str, Any]:
        row = self._suspects[number]
        names = ("trial", "video", "first_frame", "last_frame", "samples", "given", "suggested")
        return {name: row[name] for name in names} | {
            "score": round(float(row["score"]), 4),
            "agreement": round(float(row["agreement"]), 4),
            "probabilities": [round(float(row[name]), 4) for name in self.classes],
            "pictures": [
                {"position": shown.position, "frame": shown.frame_index, "inside": shown.inside}
                for shown in self._shown[number]
            ],
            "decision": self._decisions[number],
        }


def _stretch(row: Any) -> tuple[str, int, int]:
    return str(row["trial"]), int(row["first_frame"]), int(row["last_frame"])


def _chosen(samples: pd.DataFrame, suspects: Sequence[Any]) -> list[list[Shown]]:
    """Pictures of each suspect in the order of time: some of the stretch itself, and neighbours on both sides."""
    wanted = {str(row["trial"]) for row in suspects}
    own = samples[samples["trial"].isin(wanted)]
    by_trial = {str(trial): rows.sort_values("frame_index") for trial, rows in own.groupby("trial", observed=True)}
    chosen: list[list[Shown]] = []
    for row in suspects:
        trial, first, last = _stretch(row)
        if trial not in by_trial:
            chosen.append([])
            continue
        frames = by_trial[trial]["frame_index"].to_numpy()
        begin, end = np.searchsorted(frames, (first, last + 1))
        inside = np.unique(np.linspace(begin, end - 1, min(_INSIDE, end - begin)).round().astype(int))
        places = [*range(max(0, begin - _BESIDE), begin), *inside, *range(end, min(len(frames), end + _BESIDE))]
        positions = by_trial[trial].index.to_numpy()
        chosen.append(
            [
                Shown(position=int(positions[at]), frame_index=int(frames[at]), inside=bool(begin <= at < end))
                for at in places
            ]
        )
    return chosen
