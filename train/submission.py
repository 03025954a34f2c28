"""Predictions as the challenge's test sets want them: one class for every frame, in the early or the later format.

The early one (2020, 2021) is a file a trial: a header of class names, then one integer a frame. The later one (from
2022) is a single file with a row a frame, `NAME/00001.jpg,3`. Pure; files are written and read elsewhere.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LATER_COLUMN = "image_location"
FALLBACK = 0
"""Neutral: the class of a trial in which nobody was seen."""

_SHOWN = 5

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
    lines = text.splitlines()
    if not lines:
        return ["it is empty"]
    problems = _header_problems(lines[0], early_header(classes))
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
    lines = text.splitlines()
    if not lines:
        return ["it is empty"]
    problems = _header_problems(lines[0], later_header(classes))
    start = 0 if "/" in lines[0] else 1
    rows = [(number, *line.rpartition(",")[::2]) for number, line in enumerate(lines[start:], start=start + 1)]
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


def _is_row(line: str) -> bool:
    return line.strip().lstrip("-").isdigit()


def _header_problems(header: str, expected: str) -> list[str]:
    if header == expected:
        return []
    what = "has no header line" if _is_row(header) or "/" in header else f"begins with {header[:80]!r}"
    return [f"it {what}; the first line must be {expected!r}"]


def _class_problems(rows: Iterable[tuple[int, str]], classes: int) -> list[str]:
    """Rows (line number, class as text) whose class is none."""
    wrong = [
        f"line {number}: {text[:20]!r}"
        for number, text in rows
        if not (text.isascii() and text.isdigit() and int(text) < classes)
    ]
    return _listed(f"{{}} without a class from 0 to {classes - 1}", wrong)


def _listed(what: str, items: Sequence[str]) -> list[str]:
    """One sentence that counts rows and shows the first of them; `what` has a place for `3 rows`."""
    if not items:
        return []
    shown = ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
    return [f"{what.format('1 row' if len(items) == 1 else f'{len(items)} rows')}: {shown}"]
