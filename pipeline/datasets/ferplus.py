"""FERPlus: `fer2013new.csv`, ten votes a row, beside `fer2013.csv`, whose rows are 48 x 48 grey pixels.

Barsoum, Zhang, Canton Ferrer and Zhang, ICMI 2016. Majority mode: single votes do not count, the peak must be more than
half of the others, and what most call unknown or no face is left out. PublicTest is `val`, PrivateTest `test`.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.contract import Drop, UserError
from pipeline.datasets.base import RawSet
from pipeline.datasets.labels import class_of
from pipeline.datasets.stills import Entry, stretches

NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_PIXELS = "fer2013.csv"


def read(raw: Path, annotations: Path, classes: int) -> RawSet:
    """Reads the votes; the pixels of row i are those of row i of `fer2013.csv`, which must have as many.

    Args:
        raw: the folder that holds `fer2013.csv`.
        annotations: `fer2013new.csv`, or its folder.
        classes: `index.classes`.

    Raises:
        UserError: if a table is not there, is not what it should be, or has not as many rows as the other.
    """
    path = annotations / "fer2013new.csv" if annotations.is_dir() else annotations
    offsets = list(_pixel_rows(raw / _PIXELS))
    entries: dict[str, list[Entry]] = {split: [] for split in _SPLITS.values()}
    rows = 0
    for row, (usage, name, votes) in enumerate(_votes(path)):
        rows += 1
        if row < len(offsets):
            named = name or f"row {row + 1}"
            entries[_SPLITS[usage]].append(_entry(named, votes, offsets[row], classes))
    if rows != len(offsets):
        raise UserError(f"{path} has {rows} rows and {_PIXELS} {len(offsets)}: they do not belong together")
    found = RawSet()
    for split, listed in entries.items():
        for trial, dropped in stretches("ferplus", split, listed, raw=raw):
            found.trials.append(trial)
            found.dropped += dropped
    return found


def majority(votes: list[int], classes: int) -> int | Drop:
    """The class that most voted for, or why there is none."""
    counted = [count if count > 1 else 0 for count in votes]
    peak = max(counted)
    if peak * 2 <= sum(counted):
        return Drop.NO_MAJORITY
    return class_of(NAMES[counted.index(peak)], classes)


def votes_of_classes(votes: list[int], classes: int) -> list[int]:
    """How many voted for each class, single votes too; votes for none of them are left out."""
    counts = [0] * classes
    for name, count in zip(NAMES, votes, strict=True):
        label = class_of(name, classes)
        if not isinstance(label, Drop):
            counts[label] += count
    return counts


def _entry(name: str, votes: list[int], offset: int, classes: int) -> Entry:
    label = majority(votes, classes)
    counted = ", ".join(f"{count} {kind}" for kind, count in zip(NAMES, votes, strict=True) if count)
    marks = {"votes": votes_of_classes(votes, classes), "picture": name}
    return Entry(name=_PIXELS, offset=offset, label=label, detail=f"{name}: {counted}", marks=marks)


def _votes(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Usage, name of the picture and votes of each row, by the names of the header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in ("Usage", "Image name", *NAMES) if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: no column {missing[0]!r}; expected fer2013new.csv of FERPlus")
            for number, row in enumerate(rows, start=2):
                votes = [row[name] for name in NAMES]
                if row["Usage"] not in _SPLITS or not all(vote and vote.isdecimal() for vote in votes):
                    raise UserError(f"{path}, line {number}: not a usage and ten numbers of votes")
                yield row["Usage"], row["Image name"] or "", [int(vote) for vote in votes]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"index.annotations: {path} cannot be read ({error})") from None


def _pixel_rows(path: Path) -> Iterator[int]:
    """Where the pixels of each row begin in the file, in bytes: `emotion,pixels,Usage`, quoted or not."""
    try:
        with path.open("rb") as stream:
            header = stream.readline().decode("utf-8-sig").strip().replace('"', "").split(",")
            if "pixels" not in header:
                raise UserError(f"{path}: no column 'pixels'; expected fer2013.csv of FER2013")
            column, begin = header.index("pixels"), stream.tell()
            for line in stream:
                if line.strip():
                    fields = line.split(b",")
                    offset = begin + sum(len(field) + 1 for field in fields[:column])
                    yield offset + (fields[min(column, len(fields) - 1)][:1] == b'"')
                begin += len(line)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); FERPlus needs the pixels of FER2013") from None
