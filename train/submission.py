"""Predictions as the challenge's test sets want them: one class for every frame, in the early or the later format.

The early one (2020, 2021) is a file a trial: a header of class names, then one integer a frame. The later one (from
2022) is a single file with a row a frame, `NAME/00001.jpg,3`. Pure; files are written and read elsewhere.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import CLASSES

LATER_COLUMN = "image_location"
FALLBACK = 0
"""Neutral: the class of a trial in which nobody was seen."""

_SHOWN = 5
_LATER_ROW = re.compile(r"[^,]+,[^,]*")

FrameClasses = Mapping[str, NDArray[np.int64]]
"""By trial, in the order of the submission: the class of every frame."""


def every_frame(frame_indices: Iterable[int], predictions: Iterable[int], frames: int) -> NDArray[np.int64]:
    """One class a frame: a frame without a face repeats the prediction before it, the first ones take the first.

    Args:
        frame_indices: of the frames that have a prediction, rising, from 0.
        predictions: their classes.
        frames: how many frames the video has.

    Returns:
        Classes, int64, one a frame; `FALLBACK` throughout if there is no prediction.
    """
    indices = np.fromiter(frame_indices, dtype=np.int64)
    classes = np.fromiter(predictions, dtype=np.int64)
    if not len(indices):
        return np.full(frames, FALLBACK)
    latest = np.searchsorted(indices, np.arange(frames), side="right") - 1
    return classes[np.maximum(latest, 0)]


def early_header(classes: Sequence[str]) -> str:
    """First line of an early file."""
    return ",".join(classes)


def later_header(classes: Sequence[str]) -> str:
    """First line of the later file."""
    return ",".join([LATER_COLUMN, *classes])


def early_file(predicted: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The text of one trial's early file."""
    return "\n".join([early_header(classes), *map(str, predicted.tolist())]) + "\n"


def later_file(predicted: FrameClasses, classes: Sequence[str]) -> Iterator[str]:
    """The lines of the later file, each with its end."""
    yield later_header(classes) + "\n"
    for trial, labels in predicted.items():
        for number, label in enumerate(labels.tolist(), start=1):
            yield f"{location(trial, number)},{label}\n"


def location(trial: str, number: int) -> str:
    """How the later format names a frame, counted from 1."""
    return f"{trial}/{number:05d}.jpg"


def early_problems(text: str, frames: int, classes: Sequence[str]) -> list[str]:
    """What is wrong with one trial's early file, in whole sentences; empty if nothing is."""
    lines, problems = _lines(text)
    if not lines:
        return ["it is empty"]
    if lines[0].startswith(LATER_COLUMN):
        return ["it is in the later format, one file of all trials; check that file alone, not a folder"]
    problems += _header_problems(lines[0], early_header, classes)
    start = 0 if _is_row(lines[0]) else 1
    rows = lines[start:]
    problems += _class_problems(((start + place, row) for place, row in enumerate(rows, start=1)), len(classes))
    if len(rows) != frames:
        lacking = "too few" if len(rows) < frames else "too many"
        problems.append(
            f"it has {len(rows)} rows, the video has {frames} frames: {abs(len(rows) - frames)} {lacking} "
            "(every frame needs a row; one without a face repeats the row before)"
        )
    return problems


def later_problems(text: str, frames: Mapping[str, int], classes: Sequence[str]) -> list[str]:
    """What is wrong with the later file, in whole sentences; empty if nothing is.

    Args:
        text: of the file.
        frames: by trial, in the expected order.
        classes: names in order.
    """
    lines, problems = _lines(text)
    if not lines:
        return ["it is empty"]
    if _names_of(lines[0], early_header):
        return ["it is in the early format, one file a trial; check the folder that holds a file of every trial"]
    problems += _header_problems(lines[0], later_header, classes)
    start = 0 if "/" in lines[0] else 1
    numbered = list(enumerate(lines[start:], start=start + 1))
    malformed = [f"line {number}: {line[:40]!r}" for number, line in numbered if not _LATER_ROW.fullmatch(line)]
    problems += _listed(f"{{}} not of the form {location('NAME', 1)},3", malformed)
    if malformed and len(malformed) == len(numbered):
        return problems
    rows = [(number, *line.rpartition(",")[::2]) for number, line in numbered if _LATER_ROW.fullmatch(line)]
    problems += _class_problems(((number, label) for number, _, label in rows), len(classes))
    named = [name for _, name, _ in rows]
    wanted = [location(trial, number) for trial, count in frames.items() for number in range(1, count + 1)]
    counted, known = Counter(named), set(wanted)
    problems += _listed("{} missing", [name for name in wanted if name not in counted])
    problems += _listed("{} given more than once", [name for name, count in counted.items() if count > 1])
    problems += _listed("{} of no frame of the test set", [name for name in counted if name not in known])
    if not problems and named != wanted:
        at = next(place for place, (one, other) in enumerate(zip(named, wanted, strict=True)) if one != other)
        problems.append(
            f"line {rows[at][0]}: the rows are out of order: {named[at]!r} stands where {wanted[at]!r} is expected"
        )
    return problems


def _lines(text: str) -> tuple[list[str], list[str]]:
    """The lines, and what is wrong with the text as a whole, as other systems' editors leave it."""
    problems = []
    if text.startswith("\ufeff"):
        problems.append("it begins with a byte-order mark; save it as UTF-8 without one")
    if "\r" in text:
        problems.append("its lines end with a carriage return, as on Windows; save it with Unix line ends (LF)")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1], problems


def _is_row(line: str) -> bool:
    return line.strip().lstrip("-").isdigit()


def _names_of(line: str, header: Callable[[Sequence[str]], str]) -> int:
    """How many classes a line names if it is a header of this kind, else 0."""
    return next((count for count in (7, 8) if line == header(CLASSES[:count])), 0)


def _header_problems(line: str, header: Callable[[Sequence[str]], str], classes: Sequence[str]) -> list[str]:
    expected = header(classes)
    if line == expected:
        return []
    if named := _names_of(line, header):
        return [f"its first line names {named} classes instead of {len(classes)}; --classes says which it must be"]
    what = "has no header line" if _is_row(line) or "/" in line else f"begins with {line[:80]!r}"
    return [f"it {what}; the first line must be {expected!r}"]


def _class_problems(rows: Iterable[tuple[int, str]], classes: int) -> list[str]:
    """Rows (line number, class as text) whose class is none."""
    right = set(map(str, range(classes)))
    wrong = [f"line {number}: {text[:20]!r}" for number, text in rows if text not in right]
    return _listed(f"{{}} whose class is no whole number from 0 to {classes - 1}", wrong)


def _listed(what: str, items: Sequence[str]) -> list[str]:
    """One sentence that counts rows and shows the first of them; `what` has a place for `3 rows`."""
    if not items:
        return []
    shown = ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
    return [f"{what.format('1 row' if len(items) == 1 else f'{len(items)} rows')}: {shown}"]
