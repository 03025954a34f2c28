"""RAF-DB, basic expressions: `EmoLabel/list_patition_label.txt` (spelled so) beside `Image/aligned`.

Li, Deng and Du, CVPR 2017. Two splits: `train`, and `test`, which everybody reports on and which is `val` here. The
field's noise lists (`EmoLabel/noise01.txt`, …) give other labels to the training pictures.
"""

import re
from pathlib import Path

from pipeline.contract import Drop, UserError
from pipeline.datasets.annotation import read_text
from pipeline.datasets.base import Dropped, RawSet
from pipeline.datasets.labels import class_of
from pipeline.datasets.stills import Entry, stretches
from pipeline.marks import NO_LISTED_LABEL

NAMES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
"""Their labels 1 to 7."""

_SPLITS = {"train": "train", "test": "val"}
_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_LINE = re.compile(r"((train|test)_[0-9]+)(?:_aligned)?\.jpg\s+(-?[0-9]+)")

Labels = dict[str, int]


def read(raw: Path, annotations: Path, classes: int, noise_list: Path | None) -> RawSet:
    """Reads the list of labels; pictures are looked for in `Image/aligned`.

    Args:
        raw: the folder that holds `EmoLabel` and `Image`.
        annotations: the list of labels in either spelling of its name, or a folder that holds it.
        classes: `index.classes`.
        noise_list: the noise list, if one is wanted.

    Raises:
        UserError: if a list is not there or not what it should be.
    """
    path = _label_list(annotations)
    labels, problems = _read_list(path)
    noisy = _noisy(noise_list, labels) if noise_list else {}
    found = RawSet(dropped=problems)
    pictures = {_stem(picture) for picture in (raw / "Image/aligned").glob("*.jpg")}
    if not pictures:
        raise UserError(f"{raw / 'Image/aligned'}: no picture there; RAF-DB's aligned faces belong there")
    for prefix, split in _SPLITS.items():
        entries = [_entry(name, label, noisy, classes) for name, label in labels.items() if name.startswith(prefix)]
        for trial, dropped in stretches("rafdb", split, entries, raw=raw):
            found.trials.append(trial)
            found.dropped += dropped
    found.dropped += [
        Dropped(trial=name, split="", reason=Drop.VIDEO_WITHOUT_ANNOTATION, detail=f"a picture that {path.name} lacks")
        for name in sorted(pictures - labels.keys())
    ]
    return found


def _label_list(annotations: Path) -> Path:
    folder = annotations.parent if annotations.name in _LISTS else annotations
    for path in (annotations, *(folder / name for name in _LISTS)):
        if path.is_file():
            return path
    raise UserError(f"index.annotations: no list of RAF-DB's labels at {annotations}; it is EmoLabel/{_LISTS[0]}")


def _read_list(path: Path) -> tuple[Labels, list[Dropped]]:
    """Their label of each picture by its stem, in the list's order."""
    text, _ = read_text(path)
    labels: Labels = {}
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line.strip())
        if match and match[1] not in labels:
            labels[match[1]] = int(match[3])
        elif line.strip():
            what = "a second time" if match else "not a picture and its label"
            detail = f"{path.name}, line {number}: {what}: {line.strip()[:60]!r}"
            problems.append(Dropped(trial=path.stem, split="", reason=Drop.LABEL_UNREADABLE, frames=1, detail=detail))
    if not labels:
        raise UserError(f"{path}: no line like `train_00001.jpg 5`")
    return labels, problems


def _noisy(path: Path, labels: Labels) -> Labels:
    if not path.is_file():
        raise UserError(f"index.noise_list: no file {path}")
    noisy, problems = _read_list(path)
    noisy = {name: label for name, label in noisy.items() if name.startswith("train")}
    wrong = [f"label {label} of {name}" for name, label in noisy.items() if not 1 <= label <= len(NAMES)]
    wrong += [f"{name}, which has no label otherwise" for name in noisy if name not in labels]
    wrong += [problem.detail for problem in problems]
    if wrong:
        raise UserError(f"index.noise_list: {path}: {wrong[0]}; labels are 1 to {len(NAMES)}, one a training picture")
    missing = sum(name.startswith("train") and name not in noisy for name in labels)
    if missing:
        raise UserError(f"index.noise_list: {path} lacks {missing} of the training pictures")
    return noisy


def _entry(name: str, label: int, noisy: Labels, classes: int) -> Entry:
    picture = f"Image/aligned/{name}_aligned.jpg"
    if not 1 <= label <= len(NAMES):
        return Entry(name=picture, label=Drop.LABEL_OUT_OF_RANGE, detail=f"{name}: label {label}")
    listed = class_of(NAMES[noisy[name] - 1], classes) if name in noisy else NO_LISTED_LABEL
    return Entry(name=picture, label=class_of(NAMES[label - 1], classes), marks={"listed_label": listed})


def _stem(picture: Path) -> str:
    return picture.stem.removesuffix("_aligned")
