"""Aff-Wild2: raw videos, the official crops, and the published code's pickle; annotation folders of two years."""

import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.contract import CLASSES, Drop
from tests.replicas.base import Replica
from tests.replicas.faces import DEMO, demo_faces

LENGTH = 24


@dataclass(frozen=True, kw_only=True)
class Edition:
    """How the annotations of one year are laid out."""

    roots: tuple[str, str, str]
    """Folders of the expressions, of valence and arousal, of action units."""
    train: str
    classes: int
    units: tuple[int, ...]

    @property
    def header(self) -> str:
        """The expressions' first line."""
        return ",".join(CLASSES[: self.classes])


FIRST = Edition(
    roots=("EXPR_Set", "VA_Set", "AU_Set"), train="Training_Set", classes=7, units=(1, 2, 4, 6, 12, 15, 20, 25)
)
SECOND = Edition(
    roots=("EXPR_Recognition_Challenge", "VA_Estimation_Challenge", "AU_Detection_Challenge"),
    train="Train_Set",
    classes=7,
    units=(1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26),
)
LATER = Edition(
    roots=("EXPR_Classification_Challenge", "VA_Estimation_Challenge", "AU_Detection_Challenge"),
    train="Train_Set",
    classes=8,
    units=(1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26),
)


def make_first(raw: Path) -> Replica:
    """Two clips with annotations as in 2020."""
    return _make_raw(raw, FIRST, {"demo-001": "train", "demo-029": "val"})


def make_second(raw: Path) -> Replica:
    """The same as in 2021; one file with CRLF and bytes that are not UTF-8, one with a row of VA too many."""
    replica = _make_raw(raw, SECOND, {"demo-001": "train", "demo-029": "val"})
    odd = raw / "annotations" / SECOND.roots[0] / "Validation_Set/demo-029.txt"
    odd.write_bytes(odd.read_bytes().replace(b"\n", b"\xa0\r\n"))
    affect = raw / "annotations" / SECOND.roots[1] / "Train_Set/demo-001.txt"
    affect.write_text(affect.read_text() + "0.5,0.5\n")
    replica.told += ["not UTF-8, read as Latin-1", f"VA has {LENGTH + 1} rows"]
    return replica


def make_later(raw: Path) -> Replica:
    """Four clips with annotations of a later year, two people in one of them, and rows that have no frame."""
    clips = {"demo-001": "train", "demo-012": "train", "demo-003": "train", "demo-029": "val"}
    replica = _make_raw(raw, LATER, clips)
    replica.write(f"annotations/{LATER.roots[0]}/Train_Set/gone.txt", LATER.header + "\n0\n")
    replica.drop(Drop.VIDEO_MISSING, "no video named gone")
    replica.write(f"annotations/{LATER.roots[0]}/Test_Set/test_set.txt", "demo-003\nnever\n")
    replica.drop(Drop.VIDEO_MISSING, "lists never", frames=0)
    return replica


def _make_raw(raw: Path, edition: Edition, clips: dict[str, str]) -> Replica:
    changes = {"index.classes": edition.classes, "extract.stride": 4, "index.tolerance": 0}
    replica = Replica(layout="affwild2", raw=raw, annotations="annotations", changes=changes)
    (raw / "batch1").mkdir(parents=True)
    for clip, split in clips.items():
        source = next((DEMO / "raw/videos/batch1").glob(f"{clip}.*"))
        shutil.copyfile(source, raw / "batch1" / source.name)
        for name in ("demo-012_left", "demo-012_right") if clip == "demo-012" else (clip,):
            labels = [row // 4 % edition.classes for row in range(80 if name == "demo-003" else LENGTH)]
            labels[4] = -1 if name == "demo-001" else labels[4]
            write_tracks(replica, edition, name, split, labels)
            for row, label in enumerate(labels):
                if label == -1:
                    replica.drop(Drop.LABEL_IGNORED)
                elif row >= 79:
                    replica.drop(Drop.BEYOND_VIDEO, "80 annotation rows, 79 decoded frames")
                elif row % 4:
                    replica.drop(Drop.NOT_SAMPLED)
                else:
                    replica.sample(split, label)
    return replica


def write_tracks(replica: Replica, edition: Edition, name: str, split: str, labels: Sequence[int]) -> None:
    """One trial's files of all three sets: in VA every fifth row is ignored, in AU unit 2 in every third."""
    folder = {"train": edition.train, "val": "Validation_Set"}[split]
    affect = [f"{row / 100:.3f},-0.5" if row % 5 else "-5,-5" for row in range(len(labels))]
    units = [
        ",".join(str(-1 if row % 3 == 0 and unit == 2 else unit % 2) for unit in edition.units)
        for row in range(len(labels))
    ]
    named = ",".join(f"AU{unit}" for unit in edition.units)
    tables = ((edition.header, [str(label) for label in labels]), ("valence,arousal", affect), (named, units))
    for root, (header, lines) in zip(edition.roots, tables, strict=True):
        replica.write(f"annotations/{root}/{folder}/{name}.txt", "\n".join([header, *lines]) + "\n")


CROPPED = {
    "1-30-1280x720": ("train", 21),
    "48-30-720x1280_left": ("train", 14),
    "48-30-720x1280_right": ("train", 14),
    "video7": ("val", 14),
}


def write_crops(replica: Replica, name: str, begin: int, numbers: Sequence[int]) -> None:
    """Pictures of 112 x 112 with these numbers."""
    for number in numbers:
        replica.write(f"cropped_aligned/{name}/{number:05d}.jpg", demo_faces()[begin + number].jpeg(112))


def make_cropped(raw: Path) -> Replica:
    """Crops joined by number: some are missing in the middle, one row too many, pictures beyond the rows."""
    changes = {"align.faces": "as_is", "index.tolerance": 0}
    replica = Replica(layout="affwild2_cropped", raw=raw, annotations="annotations", changes=changes)
    begin = 0
    for name, (split, rows) in CROPPED.items():
        labels = [row % 7 for row in range(rows)]
        there = list(range(1, rows + 1))
        if name == "1-30-1280x720":
            there = [number for number in there if number not in (4, 5, 21)]  # two inside, and a row too many
            replica.drop(Drop.PICTURE_MISSING, "no file cropped_aligned/1-30-1280x720/00004.jpg", frames=3)
            replica.told.append("3 rows without a picture")
            labels[0] = 7
            replica.drop(Drop.CLASS_EXCLUDED)
        if name == "video7":
            there += [15, 16]
            replica.told.append(",14,14,16,-2,")  # rows, labelled, pictures by number, difference
        for row, label in enumerate(labels):
            if row + 1 in there and label < 7:
                replica.sample(split, label)
        write_tracks(replica, LATER, name, split, labels)
        write_crops(replica, name, begin, there)
        begin += rows + 3
    write_crops(replica, "nobody", 0, [1])
    replica.drop(Drop.VIDEO_WITHOUT_ANNOTATION, "nobody", frames=0)
    return replica


def make_pickle(raw: Path) -> Replica:
    """The same crops with the published code's pickle: lists and numpy arrays, paths of another machine."""
    replica = Replica(layout="affwild2_pickle", raw=raw, annotations="annotations.pkl")
    replica.changes = {"align.faces": "as_is"}
    expressions: dict[str, dict[str, Any]] = {"Train_Set": {}, "Validation_Set": {}, "Test_Set": {}}
    affect: dict[str, dict[str, Any]] = {"Train_Set": {}, "Validation_Set": {}}
    begin = 0
    for name, (split, rows) in CROPPED.items():
        folder = {"train": "Train_Set", "val": "Validation_Set"}[split]
        numbers = [number for number in range(1, rows + 1) if number != 6]
        labels = [(number - 1) % 7 for number in numbers]
        if name == "video7":
            labels[2] = -1
            replica.drop(Drop.LABEL_IGNORED)
        paths = [f"/media/somebody/Aff-Wild2/cropped_aligned/{name}/{number:05d}.jpg" for number in numbers]
        expressions[folder][name] = {
            "label": np.array(labels) if split == "train" else labels,
            "path": np.array(paths) if name.endswith("_left") else paths,
            "frames_ids": np.array(numbers) - 1,
        }
        pairs = np.array([[number / 100, -0.25] for number in numbers])
        affect[folder][name] = {"label": pairs, "path": paths, "frames_ids": numbers}
        write_crops(replica, name, begin, [number for number in numbers if (name, number) != ("1-30-1280x720", 2)])
        begin += rows + 3
        for number, label in zip(numbers, labels, strict=True):
            if (name, number) == ("1-30-1280x720", 2):
                replica.drop(Drop.PICTURE_MISSING, "no file cropped_aligned/1-30-1280x720/00002.jpg")
            elif label >= 0:
                replica.sample(split, label)
    expressions["Train_Set"]["short"] = {"label": [1, 2], "path": ["x/short/00001.jpg"], "frames_ids": [0]}
    replica.drop(Drop.ANNOTATION_UNREADABLE, "2 labels for 1 paths", frames=0)
    expressions["Train_Set"]["gone"] = {"label": [1], "path": ["x/gone/00001.jpg"], "frames_ids": [0]}
    replica.drop(Drop.VIDEO_MISSING, "no folder gone of pictures", frames=0)
    replica.write("annotations.pkl", pickle.dumps({"EXPR_Set": expressions, "VA_Set": affect}))
    return replica
