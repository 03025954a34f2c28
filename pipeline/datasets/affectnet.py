"""AffectNet in both layouts: the old lists with boxes and 68 landmarks, and the new folders of crops with .npy files.

Mollahosseini, Hasani and Mahoor, IEEE Transactions on Affective Computing 2017. Nothing is unpickled.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Drop, UserError
from pipeline.datasets.base import RawSet
from pipeline.datasets.labels import class_of
from pipeline.datasets.stills import Entry, stretches

NAMES = (
    "neutral",
    "happy",
    "sad",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "none",
    "uncertain",
    "non-face",
)
COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_LISTS = {"train": "training.csv", "val": "validation.csv"}
_LIST_FOLDERS = ("", "Manually_Annotated_file_lists")
_PICTURE_FOLDERS = ("", "Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "images")
_FOLDERS = {"train": "train_set", "val": "val_set"}
_SHOWN = 50
_EXPRESSION = re.compile(r"([0-9]+)_exp\.npy")
_EYES, _NOSE, _MOUTH = (slice(36, 42), slice(42, 48)), 30, (48, 54)
"""Places among the 68 landmarks (iBUG 300-W): the six of each eye, the tip of the nose, the corners of the mouth."""


def read(raw: Path, annotations: Path, classes: int) -> RawSet:
    """Reads `training.csv` and `validation.csv`, or `train_set` and `val_set` with `images` and `annotations`.

    Args:
        raw: the set's folder.
        annotations: the folder of the lists, or the one that holds `train_set`.
        classes: 7 leaves out contempt, 8 counts it as Other.

    Raises:
        UserError: if there is neither layout, or both.
    """
    lists = {split: path for split, name in _LISTS.items() if (path := _list(annotations, name))}
    folders = {split: path for split, name in _FOLDERS.items() if (path := annotations / name).is_dir()}
    if bool(lists) == bool(folders):
        what = "both" if lists else "neither"
        raise UserError(
            f"index.annotations: {annotations} holds {what}: it must be the old layout (training.csv, validation.csv) "
            "or the new one (train_set, val_set)"
        )
    found = RawSet()
    for split in (*lists, *folders):
        entries = _listed(lists[split], raw, classes) if lists else _filed(folders[split], raw, classes)
        for trial, dropped in stretches("affectnet", split, entries, raw=raw):
            found.trials.append(trial)
            found.dropped += dropped
    return found


def five_points(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The five landmarks of `contract.LANDMARKS`, 5 x 2, from the usual 68, 68 x 2."""
    eyes = [landmarks[eye].mean(axis=0) for eye in _EYES]
    return np.array([*eyes, landmarks[_NOSE], *(landmarks[corner] for corner in _MOUTH)])


def _list(annotations: Path, name: str) -> Path | None:
    return next((path for folder in _LIST_FOLDERS if (path := annotations / folder / name).is_file()), None)


def _listed(path: Path, raw: Path, classes: int) -> Iterator[Entry]:
    """Lines of an old list; a list without a header has the usual columns."""
    folder = _picture_folder(path, raw)
    for number, row in _rows(path):
        name = folder + row["subDirectory_filePath"]
        try:
            expression, *affect = int(row["expression"]), float(row["valence"]), float(row["arousal"])
            x, y, width, height = (float(row[column]) for column in COLUMNS[1:5])
            points = _points([float(text) for text in row["facial_landmarks"].split(";")])
        except ValueError as error:
            detail = f"{path.name}, line {number}: {' '.join(str(error).split())}"
            yield Entry(name=name, label=Drop.LABEL_UNREADABLE, detail=detail)
        else:
            box = (x, y, x + width - 1, y + height - 1) if width > 0 and height > 0 else None
            yield _entry(name, expression, affect, classes, box=box, points=points)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            order: Sequence[str] = COLUMNS
            for number, fields in enumerate(csv.reader(stream), start=1):
                if number == 1 and COLUMNS[0] in fields:
                    order = fields
                    if missing := set(COLUMNS) - set(order):
                        raise UserError(f"{path}: no column {min(missing)!r}")
                elif fields:
                    yield number, dict.fromkeys(COLUMNS, "") | dict(zip(order, fields, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error})") from None


def _picture_folder(path: Path, raw: Path) -> str:
    """Where the list's pictures are, relative to `raw`: the first usual folder that holds one of the first few, or the
    list's own."""
    first = [row["subDirectory_filePath"] for (_, row), _ in zip(_rows(path), range(_SHOWN), strict=False)]
    own = path.parent.relative_to(raw).parts if path.parent.is_relative_to(raw) else ()
    folders = dict.fromkeys((*_PICTURE_FOLDERS, *["/".join(own)] * (".." not in own)))
    for folder in folders:
        if any((raw / folder / name).is_file() for name in first if name):
            return f"{folder}/" if folder else ""
    expected = ", ".join(folder or "index.raw itself" for folder in folders)
    raise UserError(f"{path}: none of its first pictures is under index.raw {raw}; looked in {expected}")


def _filed(folder: Path, raw: Path, classes: int) -> Iterator[Entry]:
    """Pictures of the new layout, by number: those with an `N_exp.npy`."""
    annotations, images = folder / "annotations", (folder / "images").relative_to(raw).as_posix()
    if not annotations.is_dir():
        raise UserError(f"{annotations}: no such folder; AffectNet's .npy files belong there")
    numbers = sorted(int(match[1]) for path in annotations.iterdir() if (match := _EXPRESSION.fullmatch(path.name)))
    for number in numbers:
        name = f"{images}/{number}.jpg"
        try:
            expression = int(_scalar(annotations / f"{number}_exp.npy", int))
            affect = [_scalar(annotations / f"{number}_{kind}.npy", float) for kind in ("val", "aro")]
            points = _points(_array(annotations / f"{number}_lnd.npy").astype(np.float64).reshape(-1).tolist())
        except (OSError, EOFError, ValueError, MemoryError) as error:
            detail = f"{name}: {' '.join(str(error).split())}"
            yield Entry(name=name, label=Drop.LABEL_UNREADABLE, detail=detail)
        else:
            yield _entry(name, expression, affect, classes, points=points)


def _array(path: Path) -> NDArray[Any]:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path.name} is an archive")
    return array


def _scalar(path: Path, kind: Callable[[Any], float]) -> float:
    array = _array(path)
    if array.size != 1:
        raise ValueError(f"{path.name} holds {array.size} values")
    return kind(array.item())


def _points(numbers: Sequence[float]) -> NDArray[np.float64] | None:
    """Five of 68 landmarks; None if they are others, unknown (-2), not all finite, or all at one place."""
    landmarks = np.array(numbers, dtype=np.float64)
    if landmarks.size != 136 or not np.isfinite(landmarks).all() or (landmarks == -2).all():
        return None
    points = five_points(landmarks.reshape(68, 2))
    return points if np.ptp(points, axis=0).any() else None


def _entry(
    name: str,
    expression: int,
    affect: Sequence[float],
    classes: int,
    *,
    box: Sequence[float] | None = None,
    points: NDArray[np.float64] | None = None,
) -> Entry:
    if not 0 <= expression < len(NAMES):
        return Entry(name=name, label=Drop.LABEL_OUT_OF_RANGE, detail=f"{name}: expression {expression}")
    known = all(-1 <= value <= 1 for value in affect)
    marks = dict(zip(("valence", "arousal"), affect, strict=True)) if known else {}
    label = class_of(NAMES[expression], classes)
    detail = NAMES[expression] if isinstance(label, Drop) else ""
    return Entry(name=name, label=label, detail=detail, box=box, points=points, marks=marks)
