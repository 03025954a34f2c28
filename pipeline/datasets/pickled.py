"""The published code's `annotations.pkl` beside Aff-Wild2's crops, read without unpickling it.

`data['EXPR_Set']['Train_Set'][video]` holds `label`, `path` and `frames_ids`, one item a picture. The paths are of
somebody else's machine: a picture is found by its folder and number, `NAME/00001.jpg`. `VA_Set` and `AU_Set` are read
for the same pictures.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets import inert_pickle
from pipeline.datasets.affect import UNITS_2020, told_units
from pipeline.datasets.affwild2 import SPLIT_FOLDERS, report_unannotated
from pipeline.datasets.base import NO_LABEL, Dropped, RawSet, Trial
from pipeline.datasets.cropped import crop_numbers, one_video, picture_folders, with_pictures
from pipeline.datasets.inert_pickle import Call, RefusedPickleError
from pipeline.datasets.leakage import keep_one_split
from pipeline.datasets.pickled_arrays import values_of
from pipeline.marks import ACTION_UNITS

_SETS = ("EXPR_Set", "VA_Set", "AU_Set")
_IGNORE = -1
_PATH = re.compile(r"(?:.*[/\\])?([^/\\]+)[/\\]([0-9]{5,7})\.jpg")
_MOST_ROWS = 1 << 24
_UNITS = {8: UNITS_2020, 12: tuple(unit for unit in ACTION_UNITS if unit != 20)}


def read(raw: Path, annotations: Path, classes: int) -> RawSet:
    """Reads the pickle and finds the pictures.

    Args:
        raw: the folder that holds `cropped_aligned`.
        annotations: the pickle.
        classes: `index.classes`.

    Raises:
        UserError: if it is not such a file.
    """
    data = _dict(annotations, inert_pickle.load(annotations), "data")
    found, folders = RawSet(), picture_folders(raw)
    marks = [dict(_entries(annotations, data, name)) for name in _SETS[1:]]
    free = dict(folders)
    for (split, name), entry in _entries(annotations, data, _SETS[0], required=True):
        try:
            folder, items = _items(entry)
        except RefusedPickleError as error:
            found.dropped.append(_dropped(name, split, Drop.ANNOTATION_UNREADABLE, str(error)))
            continue
        if folder in free:
            trial = _trial(folder, split, free.pop(folder)[0], items, found, classes)
            trial = replace(trial, marks=_marks(name, marks, len(trial.labels)))
            found.trials.append(with_pictures(trial, raw, crop_numbers(trial.path)))
        elif folder in folders:
            detail = f"another entry has the pictures of {folder}"
            found.dropped.append(_dropped(name, split, Drop.ANNOTATION_UNREADABLE, detail))
        else:
            found.dropped.append(_dropped(name, split, Drop.VIDEO_MISSING, f"no folder {folder} of pictures"))
    found.trials, lost = keep_one_split(found.trials, same=one_video, reason=Drop.SPLIT_CONFLICT)
    found.dropped += lost
    report_unannotated(found, folders, {})
    return found


def _dropped(name: str, split: str, reason: Drop, detail: str) -> Dropped:
    return Dropped(trial=name, split=split, reason=reason, detail=detail)


def _entries(
    path: Path, data: Mapping[Any, Any], name: str, *, required: bool = False
) -> Iterator[tuple[tuple[str, str], Mapping[Any, Any]]]:
    """The entries of one annotation set by split and video."""
    if required and name not in data:
        raise UserError(f"{path}: no data[{name!r}]; expected the published code's annotations.pkl")
    for folder, videos in _dict(path, data.get(name, {}), f"data[{name!r}]").items():
        if folder not in SPLIT_FOLDERS:
            raise UserError(f"{path}: data[{name!r}] holds {str(folder)[:40]!r}, not {', '.join(SPLIT_FOLDERS)}")
        for video, entry in _dict(path, videos, f"data[{name!r}][{folder!r}]").items():
            yield (SPLIT_FOLDERS[folder], str(video)), entry if isinstance(entry, dict) else {}


def _dict(path: Path, value: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        asked = f", it asks for {value.function.told}" if isinstance(value, Call) else ""
        raise UserError(f"{path}: {what} is no dict{asked}; expected the published code's annotations.pkl")
    return value


def _items(entry: Mapping[Any, Any]) -> tuple[str, list[tuple[int, Any]]]:
    """The folder of an entry's pictures, and (row, label) of each."""
    if "label" not in entry or "path" not in entry:
        raise RefusedPickleError("an entry without label and path")
    labels, paths = values_of(entry["label"]), values_of(entry["path"])
    if len(labels) != len(paths) or not paths:
        raise RefusedPickleError(f"{len(labels)} labels for {len(paths)} paths")
    matches = [_PATH.fullmatch(path) if isinstance(path, str) else None for path in paths]
    rows = [(match[1], int(match[2]) - 1) for match in matches if match]
    folders = {folder for folder, _ in rows}
    if len(rows) < len(paths) or len(folders) > 1 or not all(0 <= row < _MOST_ROWS for _, row in rows):
        raise RefusedPickleError("its paths are not NAME/00001.jpg, … of one folder")
    return folders.pop(), [(row, label) for (_, row), label in zip(rows, labels, strict=True)]


def _trial(name: str, split: str, path: Path, items: Sequence[tuple[int, Any]], found: RawSet, classes: int) -> Trial:
    """An entry as a trial; its labels that cannot be used are added to what was dropped."""
    labels = np.full(max(row for row, _ in items) + 1, NO_LABEL, dtype=np.int8)
    dropped: Counter[Drop] = Counter()
    for row, value in items:
        label = _label(value, classes) if labels[row] == NO_LABEL else Drop.LABEL_UNREADABLE
        if isinstance(label, Drop):
            dropped[label] += 1
        else:
            labels[row] = label
    found.dropped += [Dropped(trial=name, split=split, reason=each, frames=count) for each, count in dropped.items()]
    return Trial(name=name, video=name, subject="", split=split, path=path, labels=labels)


def _label(value: Any, classes: int) -> int | Drop:
    (value,) = value if isinstance(value, list) and len(value) == 1 else (value,)
    if type(value) not in (int, float) or (type(value) is float and not value.is_integer()):
        return Drop.LABEL_UNREADABLE
    if value == _IGNORE:
        return Drop.LABEL_IGNORED
    if not 0 <= value < len(CLASSES):
        return Drop.LABEL_OUT_OF_RANGE
    return int(value) if value < classes else Drop.CLASS_EXCLUDED


def _marks(name: str, sets: Sequence[Mapping[tuple[str, str], Mapping[Any, Any]]], rows: int) -> dict[str, Any]:
    """Valence, arousal and action units of a video's rows, whatever split they stand in."""
    marks: dict[str, Any] = {}
    for entries, column in zip(sets, ("affect", "action_units"), strict=True):
        entry = next((entry for (_, video), entry in entries.items() if video == name), None)
        if entry is None:
            continue
        try:
            _, items = _items(entry)
        except RefusedPickleError:
            continue
        marks |= _affect(items, rows) if column == "affect" else _units(items, rows)
    return marks


def _affect(items: Iterable[tuple[int, Any]], rows: int) -> dict[str, Any]:
    values = np.full((rows, 2), np.nan)
    for row, pair in items:
        is_pair = row < rows and isinstance(pair, (list, tuple)) and len(pair) == 2
        if is_pair and all(_is_number(value) and -1 <= value <= 1 for value in pair):
            values[row] = pair
    return {"valence": values[:, 0], "arousal": values[:, 1]}


def _units(items: Iterable[tuple[int, Any]], rows: int) -> dict[str, Any]:
    column = np.full(rows, None, dtype=object)
    for row, units in items:
        if row < rows and isinstance(units, (list, tuple)) and len(units) in _UNITS:
            column[row] = told_units(_UNITS[len(units)], [f"{unit:g}" if _is_number(unit) else "" for unit in units])
    return {"action_units": column}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
