"""Aff-Wild2's expression annotations (2020 to today) beside its videos: folders as they are found in the wild."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.containers import VIDEO_SUFFIXES
from pipeline.contract import SUBJECTS, Drop, UserError
from pipeline.datasets import affect
from pipeline.datasets.annotation import are_rows, lines_of, read_annotation, read_text, texts
from pipeline.datasets.base import NO_LABEL, Dropped, RawSet, Trial, one_spelling
from pipeline.datasets.leakage import keep_one_split
from pipeline.files import walk

ROOTS = ("EXPR_Set", "EXPR_Recognition_Challenge", "EXPR_Classification_Challenge")
SPLIT_FOLDERS = {
    "Train_Set": "train",
    "Training_Set": "train",
    "Validation_Set": "val",
    "Test_Set": "test",
}


def find_videos(raw: Path) -> dict[str, list[Path]]:
    """Videos by name. What is called like a video and is empty or no file comes last, and is refused when opened."""
    found = sorted(path for path in walk(raw) if path.suffix.lower() in VIDEO_SUFFIXES)
    videos: dict[str, list[Path]] = {}
    for path in sorted(found, key=lambda path: not (path.is_file() and path.stat().st_size)):
        videos.setdefault(one_spelling(path.stem), []).append(path)
    return videos


def read(
    raw: Path, annotations: Path, classes: int, *, find: Callable[[Path], dict[str, list[Path]]] = find_videos
) -> RawSet:
    """Reads every annotation file and finds its video; takes what the sets VA and AU beside it say of its frames.

    Args:
        raw: folder with the videos, at any depth (`batch1`, `batch2`, …).
        annotations: folder that holds one of `ROOTS`, at any depth.
        classes: 7 leaves out frames of the class Other; 8 keeps them.
        find: what annotations are about, by name, and where it is.

    Raises:
        UserError: if there is no annotation folder, more than one, or nothing in it.
    """
    root = _annotation_root(annotations)
    videos = find(raw)
    found = RawSet()
    listed: dict[str, str] = {}
    for folder, split in _split_folders(root):
        for path in texts(folder):
            names = _name_list(path, videos)
            for name in names:
                if match := _video_of(name, videos):
                    listed[match[0]] = split
                else:
                    detail = f"{one_spelling(path.name)} lists {name}, but no such video is under index.raw"
                    found.dropped.append(Dropped(trial=name, split=split, reason=Drop.VIDEO_MISSING, detail=detail))
            if not names:
                _add_trial(found, path, split, videos, classes)
    if not found.trials and not found.dropped:
        raise UserError(f"{root}: no annotation files; expected {', '.join(SPLIT_FOLDERS)} with one .txt a video")
    found.trials, lost = keep_one_split(found.trials, same=lambda trial: trial.video, reason=Drop.SPLIT_CONFLICT)
    found.dropped += lost
    tracks = affect.beside(root, tuple(SPLIT_FOLDERS))
    found.trials = [affect.with_affect(trial, tracks) for trial in found.trials]
    report_unannotated(found, videos, listed)
    return found


def _annotation_root(annotations: Path) -> Path:
    if not annotations.is_dir():
        raise UserError(f"index.annotations: no folder {annotations}; it must hold one of {', '.join(ROOTS)}")
    if annotations.name in ROOTS:
        return annotations
    found = sorted(path for path in walk(annotations) if path.name in ROOTS and path.is_dir())
    if not found:
        raise UserError(f"index.annotations: {annotations} holds none of {', '.join(ROOTS)}")
    if len(found) > 1:
        raise UserError(f"index.annotations: several sets, choose one of {', '.join(map(str, found))}")
    return found[0]


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    found = [(root / name, split) for name, split in SPLIT_FOLDERS.items() if (root / name).is_dir()]
    if len({split for _, split in found}) < len(found):
        raise UserError(f"{root}: several folders for one split, keep one of {', '.join(p.name for p, _ in found)}")
    return found


def _name_list(path: Path, videos: dict[str, list[Path]]) -> list[str]:
    """The names in a file like `test_set.txt`, which lists videos; none if the file is an annotation."""
    if _video_of(one_spelling(path.stem), videos):
        return []
    try:
        text, _ = read_text(path)
    except UserError:
        return []
    lines = [one_spelling(line) for line in lines_of(text) if line]
    if are_rows(lines):
        return []
    return lines if any(_video_of(name, videos) for name in lines) else []


def _video_of(trial: str, videos: dict[str, list[Path]]) -> tuple[str, str] | None:
    """Video name and subject of a trial: a video of that very name first, then without `_left` or `_right`."""
    if trial in videos:
        return trial, ""
    for subject in SUBJECTS[1:]:
        name = trial.removesuffix(f"_{subject}")
        if name != trial and name in videos:
            return name, subject
    return None


def _add_trial(found: RawSet, path: Path, split: str, videos: dict[str, list[Path]], classes: int) -> None:
    name = one_spelling(path.stem)

    def drop(reason: Drop, *, frames: int = 0, detail: str = "") -> None:
        found.dropped.append(
            Dropped(trial=name, split=split, reason=reason, frames=frames, detail=one_spelling(detail))
        )

    try:
        annotation = read_annotation(path, classes)
    except UserError as error:
        drop(Drop.ANNOTATION_UNREADABLE, detail=str(error))
        return
    for reason, frames in annotation.dropped.items():
        drop(reason, frames=frames)
    video, subject = _video_of(name, videos) or ("", "")
    source, *others = videos.get(video, [None])
    labelled = int(np.count_nonzero(annotation.labels != NO_LABEL))
    if source is None:
        detail = f"no video named {name} (or without _left, _right) under index.raw"
        drop(Drop.VIDEO_MISSING, frames=labelled, detail=detail)
        return
    if wrong := _unusable(found, name, split, source):
        reason, detail = wrong
        drop(reason, frames=labelled, detail=detail)
        return
    notes = [annotation.note] + [f"several videos named {video}; read {source.name}"] * bool(others)
    found.trials.append(
        Trial(
            name=name,
            video=video,
            subject=subject,
            split=split,
            path=source,
            labels=annotation.labels,
            note="; ".join(filter(None, notes)),
        )
    )


def _unusable(found: RawSet, name: str, split: str, source: Path) -> tuple[Drop, str] | None:
    """Why an annotation that was read, and whose video is there, is no trial; or nothing."""
    if one_spelling(str(source)) != unicodedata.normalize("NFC", str(source)):
        return Drop.VIDEO_UNREADABLE, "the bytes of its path are not UTF-8; rename it and its annotation"
    if any(trial.name == name and trial.split == split for trial in found.trials):
        detail = "another file has this name too, in another folder or spelled with other bytes"
        return Drop.ANNOTATION_UNREADABLE, detail
    return None


def report_unannotated(found: RawSet, videos: dict[str, list[Path]], listed: dict[str, str]) -> None:
    """Lists the videos that no annotation is about; `listed` tells the split of those that a list names."""
    used = {trial.video for trial in found.trials} | {
        match[0] for entry in found.dropped if (match := _video_of(entry.trial, videos))
    }
    for video in sorted(videos.keys() - used):
        found.dropped.append(Dropped(trial=video, split=listed.get(video, ""), reason=Drop.VIDEO_WITHOUT_ANNOTATION))
