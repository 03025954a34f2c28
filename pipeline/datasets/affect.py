"""Aff-Wild2's other annotation sets beside the expressions: valence and arousal, and action units, frame by frame."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import UserError
from pipeline.datasets.annotation import lines_of, read_text, texts
from pipeline.datasets.base import Trial, one_spelling
from pipeline.marks import ACTION_UNITS

VA_ROOTS = ("VA_Set", "VA_Estimation_Challenge")
AU_ROOTS = ("AU_Set", "AU_Detection_Challenge")
UNITS_2020 = (1, 2, 4, 6, 12, 15, 20, 25)
_IGNORE_VA, _IGNORE_UNIT = -5.0, "-1"
_UNIT = re.compile(r"AU0*([0-9]+)", re.IGNORECASE)

Marks = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """The files of both sets by the name of their trial."""

    affect: Mapping[str, Path] = field(default_factory=dict)
    units: Mapping[str, Path] = field(default_factory=dict)


def beside(root: Path, split_folders: Sequence[str]) -> Tracks:
    """The sets that lie beside the folder of the expressions.

    A video's file is found in whatever split: it tells of the frames, and the split of the expressions stays.

    Raises:
        UserError: if there are several of one kind.
    """
    return Tracks(
        affect=_files(root.parent, VA_ROOTS, split_folders), units=_files(root.parent, AU_ROOTS, split_folders)
    )


def _files(folder: Path, roots: Sequence[str], split_folders: Sequence[str]) -> dict[str, Path]:
    found = [folder / name for name in roots if (folder / name).is_dir()]
    if len(found) > 1:
        raise UserError(f"index.annotations: several sets, keep one of {', '.join(map(str, found))}")
    paths = [path for root in found for name in split_folders for path in texts(root / name)]
    return {one_spelling(path.stem): path for path in reversed(paths)}


def with_affect(trial: Trial, tracks: Tracks) -> Trial:
    """The trial with what both sets say of its rows; what cannot be read is noted."""
    marks, notes = dict(trial.marks), [trial.note]
    read: list[tuple[str, Mapping[str, Path], Callable[[Path, int], tuple[Marks, int]]]] = [
        ("VA", tracks.affect, read_affect),
        ("AU", tracks.units, read_units),
    ]
    for kind, files, reader in read:
        if trial.name in files:
            try:
                found, rows = reader(files[trial.name], len(trial.labels))
            except UserError as error:
                notes.append(f"{kind}: {error}")
            else:
                marks |= found
                notes += [f"{kind} has {rows} rows"] * (rows != len(trial.labels))
    return replace(trial, marks=marks, note="; ".join(filter(None, notes)))


def read_affect(path: Path, rows: int) -> tuple[Marks, int]:
    """Valence and arousal of the first `rows` rows, NaN where ignored (-5), out of range or absent; how many there are.

    Raises:
        UserError: if the file cannot be read, or its header does not name both.
    """
    header, lines = _table(path)
    order = [name.strip().lower() for name in header]
    if sorted(order) != ["arousal", "valence"]:
        raise UserError(f"{path.name}: its header is not valence,arousal")
    values = np.full((rows, 2), np.nan)
    for row, line in enumerate(lines[:rows]):
        try:
            pair = [float(text) for text in line.split(",")]
        except ValueError:
            continue
        if len(pair) == 2 and all(-1 <= value <= 1 for value in pair):
            values[row] = pair
    return {name: values[:, place] for place, name in enumerate(order)}, len(lines)


def read_units(path: Path, rows: int) -> tuple[Marks, int]:
    """Action units of the first `rows` rows like `AU1=0 AU12=1`, those annotated (not -1); None where none is.

    Raises:
        UserError: if the file cannot be read, or its header names something else than known units.
    """
    header, lines = _table(path)
    numbers = [int(match[1]) if (match := _UNIT.fullmatch(name.strip())) else 0 for name in header]
    if not set(numbers) <= set(ACTION_UNITS) or len(set(numbers)) < len(numbers):
        raise UserError(f"{path.name}: its header is not a list of action units like AU1,AU2")
    meaning = {line: told_units(numbers, line.split(",")) for line in set(lines[:rows])}
    column = np.full(rows, None, dtype=object)
    column[: len(lines)] = [meaning[line] for line in lines[:rows]]
    return {"action_units": column}, len(lines)


def told_units(numbers: Sequence[int], values: Sequence[str]) -> str | None:
    """`AU1=0 AU12=1` of one row; None if it is not as long as its header or no unit of it is annotated."""
    if len(values) != len(numbers):
        return None
    known = [(number, value.strip()) for number, value in zip(numbers, values, strict=True)]
    return " ".join(f"AU{number}={value}" for number, value in known if value in ("0", "1")) or None


def _table(path: Path) -> tuple[list[str], list[str]]:
    text, _ = read_text(path)
    header, *lines = lines_of(text) or [""]
    return header.split(","), lines
