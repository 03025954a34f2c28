"""Labels that people corrected: a log of decisions about stretches of frames, one line each, that git can merge.

`labels/overrides.csv` only grows. Of several decisions about one label of a stretch the latest holds. When labels that
were corrected have been learned from, a second review judges the corrected ones: its decisions add to the first's.
`.gitattributes` lets git keep the lines of both sides when two people reviewed at the same time.
"""

import contextlib
import csv
import fcntl
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.contract import CLASSES, RESULTS, Drop, UserError
from pipeline.datasets.base import NO_LABEL, Dropped, Trial
from pipeline.disk import naming

OVERRIDES = Path("labels/overrides.csv")
CHANGES = RESULTS / "label_changes.csv"
COLUMNS = ("dataset", "trial", "first_frame", "last_frame", "given", "decision", "who", "when")
CHANGE_COLUMNS = dict.fromkeys(COLUMNS, "string") | dict.fromkeys(
    ("first_frame", "last_frame", "frames", "stale"), "int64"
)
KEEP, EXCLUDE, UNDO = "keep", "exclude", "undo"
DECISIONS = (*CLASSES, KEEP, EXCLUDE, UNDO)

_LINE_END = re.compile(r"\r+\n|\r")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")

Judged = tuple[str, int, int, str]
"""Trial, first and last frame (inclusive), and the label."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """One decision: the class that all frames of a stretch with the label `given` have, or to keep or exclude them.

    `undo` takes back what was decided about the same label of that stretch. `when` is UTC in ISO 8601, `who` a name.
    """

    dataset: str
    trial: str
    first_frame: int
    last_frame: int
    given: str
    decision: str
    who: str
    when: str

    @property
    def judged(self) -> Judged:
        """What it is about."""
        return self.trial, self.first_frame, self.last_frame, self.given


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a decision did: how many labels changed, and how many frames no longer have the label it was about."""

    override: Override
    frames: int
    stale: int


def read_overrides(path: Path, dataset: str | None) -> list[Override]:
    """The decisions about a dataset, or about all of them (None), earliest first; none if there is no file.

    Raises:
        UserError: naming the line that is not one.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it as UTF-8") from None
    overrides = [override for override in _parsed(path, text) if dataset in (None, override.dataset)]
    return sorted(overrides, key=lambda override: override.when)


def append_override(path: Path, override: Override) -> None:
    """Adds a line, durably: it is on the disk when this returns, and lines of other processes stay whole."""
    line = io.StringIO()
    values = (getattr(override, name) for name in COLUMNS)
    csv.writer(line, lineterminator="\n").writerow(values)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream, _locked(stream.fileno()):
            stream.seek(0, os.SEEK_END)
            lead = b""
            if stream.tell() == 0:
                lead = ",".join(COLUMNS).encode() + b"\n"
            else:
                stream.seek(-1, os.SEEK_END)
                lead = b"" if stream.read(1) == b"\n" else b"\n"  # a hand edit, or a cut line
            stream.write(lead + line.getvalue().encode())
            stream.flush()
            os.fsync(stream.fileno())


def now() -> str:
    """The present moment as `when` wants it, to the microsecond, so that order is kept."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def in_force(overrides: Iterable[Override]) -> dict[Judged, Override]:
    """The decision that holds for each label of a stretch, in the order of their making; without what was undone."""
    held: dict[Judged, Override] = {}
    for override in overrides:
        held.pop(override.judged, None)
        if override.decision != UNDO:
            held[override.judged] = override
    return held


def corrected(
    trials: Sequence[Trial], overrides: Iterable[Override], classes: int
) -> tuple[list[Trial], list[Dropped], list[Change]]:
    """Applies decisions to labels; where stretches overlap the later decision wins.

    A decision concerns the frames of its stretch that have the label it was made about, by the annotation or by earlier
    decisions: if the annotation has changed since, they are left alone and counted as stale. What becomes a class
    beyond the first `classes` is left out.

    Returns:
        The trials with corrected labels, what was excluded, and what each decision did.
    """
    by_name = {trial.name: trial for trial in trials}
    labels = {name: trial.labels.copy() for name, trial in by_name.items()}
    changes = []
    for override in in_force(overrides).values():
        if override.trial not in by_name:
            changes.append(Change(override=override, frames=0, stale=override.last_frame - override.first_frame + 1))
            continue
        raw = by_name[override.trial].labels[override.first_frame : override.last_frame + 1]
        own = labels[override.trial][override.first_frame : override.last_frame + 1]
        given = CLASSES.index(override.given)
        concerned = (raw == given) | (own == given)
        stale = int(np.count_nonzero(~concerned & (raw != NO_LABEL)))
        before = own.copy()
        own[concerned] = _label(override)
        changes.append(Change(override=override, frames=int(np.count_nonzero(before != own)), stale=stale))
    dropped = []
    for name, trial in by_name.items():
        lost = {
            Drop.EXCLUDED_BY_REVIEW: (labels[name] == NO_LABEL) & (trial.labels != NO_LABEL),
            Drop.CLASS_EXCLUDED: labels[name] >= classes,
        }
        labels[name][lost[Drop.CLASS_EXCLUDED]] = NO_LABEL
        counts = {reason: int(np.count_nonzero(frames)) for reason, frames in lost.items()}
        dropped += [Dropped(trial=name, split=trial.split, reason=r, frames=n) for r, n in counts.items() if n]
    return [replace(trial, labels=labels[trial.name]) for trial in trials], dropped, changes


def change_rows(changes: Iterable[Change]) -> list[dict[str, object]]:
    """Rows of `CHANGE_COLUMNS`."""
    return [vars(change.override) | {"frames": change.frames, "stale": change.stale} for change in changes]


def told(changes: Sequence[Change]) -> str:
    """What all decisions did, in one line."""
    relabelled = sum(change.frames for change in changes if change.override.decision in CLASSES)
    excluded = sum(change.frames for change in changes if change.override.decision == EXCLUDE)
    stale = sum(change.stale for change in changes)
    line = f"{OVERRIDES}: {len(changes)} decisions, {relabelled} labels changed, {excluded} excluded"
    return line + (f", {stale} frames no longer have the label that was judged and stay as they are" if stale else "")


def _label(override: Override) -> int:
    if override.decision == EXCLUDE:
        return NO_LABEL
    return CLASSES.index(override.given if override.decision == KEEP else override.decision)


def _parsed(path: Path, text: str) -> Iterator[Override]:
    for number, row in enumerate(csv.reader(io.StringIO(_LINE_END.sub("\n", text))), start=1):
        if not row or tuple(row) == COLUMNS:
            continue
        if row[0].startswith(_CONFLICT):
            raise UserError(f"{path}, line {number}: a merge conflict is left in it; keep the lines of both sides")
        problem = _problem(row)
        if problem:
            raise UserError(f"{path}, line {number}: {problem}; correct or delete the line")
        dataset, trial, first, last, given, decision, who, when = row
        yield Override(
            dataset=dataset,
            trial=trial,
            first_frame=int(first),
            last_frame=int(last),
            given=given,
            decision=decision,
            who=who,
            when=when,
        )


def _problem(row: Sequence[str]) -> str:
    if len(row) != len(COLUMNS):
        return f"{len(row)} values instead of {len(COLUMNS)} ({', '.join(COLUMNS)})"
    _, _, first, last, given, decision, _, when = row
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and int(first) <= int(last)):
        return f"frames {first!r} to {last!r} are no stretch"
    if given not in CLASSES:
        return f"given {given!r} is none of {', '.join(CLASSES)}"
    if decision not in DECISIONS:
        return f"decision {decision!r} is none of {', '.join(DECISIONS)}"
    try:
        datetime.fromisoformat(when)
    except ValueError:
        return f"when {when!r} is no time in ISO 8601"
    return ""


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    with contextlib.suppress(OSError):  # a file system without locks: a short append is whole all the same
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
