"""Aff-Wild2's official crops: `cropped_aligned/NAME/00001.jpg` beside the annotations.

Row i of an annotation (from 0) belongs to picture i + 1. Pictures are missing where no face was found, so they are
joined by number and never by order.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.contract import SUBJECTS, Drop, UserError
from pipeline.datasets import affwild2
from pipeline.datasets.base import Dropped, Pictures, RawSet, Trial, one_spelling
from pipeline.datasets.leakage import keep_one_split

_PICTURE = re.compile(r"([0-9]{5,7})\.jpg")
_FOLDER = "cropped_aligned"


def read(raw: Path, annotations: Path, classes: int) -> RawSet:
    """Reads every annotation file and the numbers of its pictures; raises like `affwild2.read`."""
    found = affwild2.read(raw, annotations, classes, find=picture_folders)
    trials = [with_pictures(trial, raw, crop_numbers(trial.path)) for trial in found.trials]
    found.trials = [trial for trial in trials if trial.name == trial.video]
    found.dropped += [
        Dropped(trial=trial.name, split=trial.split, reason=Drop.VIDEO_MISSING, frames=trial.labelled, detail=detail)
        for trial in trials
        if trial.name != trial.video
        for detail in [f"no crops of its own; {trial.video} is of another person"]
    ]
    found.trials, lost = keep_one_split(found.trials, same=one_video, reason=Drop.SPLIT_CONFLICT)
    found.dropped += lost
    return found


def picture_folders(raw: Path) -> dict[str, list[Path]]:
    """Folders of pictures by name, in `cropped_aligned` if there is one."""
    root = raw / _FOLDER if (raw / _FOLDER).is_dir() else raw
    folders = {one_spelling(folder.name): [folder] for folder in sorted(root.iterdir()) if folder.is_dir()}
    if not folders:
        raise UserError(f"{root}: no folder with pictures; expected {_FOLDER}/NAME/00001.jpg")
    return folders


def crop_numbers(folder: Path) -> list[int]:
    """The numbers of the pictures there are."""
    return [int(match[1]) for path in folder.iterdir() if (match := _PICTURE.fullmatch(path.name))]


def with_pictures(trial: Trial, raw: Path, numbers: Sequence[int]) -> Trial:
    """The trial with the picture of each row, there or not, and its person by the ending of its name."""
    rows = len(trial.labels)
    folder = trial.path.relative_to(raw).as_posix()
    names = tuple(f"{folder}/{row + 1:05d}.jpg" for row in range(rows))
    beyond = max([0, *numbers]) - rows
    missing = rows - sum(1 <= number <= rows for number in set(numbers))
    notes = [trial.note, f"{missing} rows without a picture" if missing else ""]
    return replace(
        trial,
        path=raw,
        subject=next((subject for subject in SUBJECTS[1:] if trial.name.endswith(f"_{subject}")), ""),
        note="; ".join(filter(None, notes)),
        pictures=Pictures(names=names, beyond=max(0, beyond)),
    )


def one_video(trial: Trial) -> str:
    """The name of the video that a trial is about: crops of two people lie in two folders."""
    return trial.video.removesuffix(f"_{trial.subject}") if trial.subject else trial.video
