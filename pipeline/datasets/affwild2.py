"""Aff-Wild2's expression annotations (2020 to today) beside its videos: folders as they are found in the wild."""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract import CLASSES, SUBJECTS, Drop, UserError
from pipeline.datasets.base import Dropped, RawSet, Trial

ROOTS = ("EXPR_Set", "EXPR_Recognition_Challenge", "EXPR_Classification_Challenge")
SPLIT_FOLDERS = {
    "Train_Set": "train",
    "Training_Set": "train",
    "Validation_Set": "val",
    "Test_Set": "test",
}
SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".wmv", ".mpg")
IGNORE = -1

_CLASS_OF = {name.lower(): index for index, name in enumerate(CLASSES)}
_PRECEDENCE = ("test", "val", "train")


def read(raw: Path, annotations: Path, classes: int) -> RawSet:
    """Reads every annotation file and finds its video.

    Args:
        raw: folder with the videos, at any depth (`batch1`, `batch2`, …).
        annotations: folder that holds one of `ROOTS`, at any depth.
        classes: 7 leaves out frames of the class Other; 8 keeps them.

    Raises:
        UserError: if there is no annotation folder, more than one, or nothing in it.
    """
    root = _annotation_root(annotations)
    videos = _find_videos(raw)
    found = RawSet()
    listed: dict[str, str] = {}
    for folder, split in _split_folders(root):
        for path in sorted(folder.glob("*.txt")):
            names = _name_list(path, videos)
            for name in names:
                if match := _video_of(name, videos):
                    listed[match[0]] = split
                else:
                    detail = f"{path.name} lists {name}, but no such video is under index.raw"
                    found.dropped.append(Dropped(trial=name, split=split, reason=Drop.VIDEO_MISSING, detail=detail))
            if not names:
                _add_trial(found, path, split, videos, classes)
    if not found.trials and not found.dropped:
        raise UserError(f"{root}: no annotation files; expected {', '.join(SPLIT_FOLDERS)} with one .txt a video")
    _keep_one_split_a_video(found)
    _report_unannotated(found, videos, listed)
    return found


def _annotation_root(annotations: Path) -> Path:
    if not annotations.is_dir():
        raise UserError(f"index.annotations: no folder {annotations}; it must hold one of {', '.join(ROOTS)}")
    if annotations.name in ROOTS:
        return annotations
    found = sorted(path for name in ROOTS for path in annotations.rglob(name) if path.is_dir())
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


def _find_videos(raw: Path) -> dict[str, list[Path]]:
    videos: dict[str, list[Path]] = {}
    for path in sorted(raw.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            videos.setdefault(path.stem, []).append(path)
    return videos


def _name_list(path: Path, videos: dict[str, list[Path]]) -> list[str]:
    """The names in a file like `test_set.txt`, which lists videos; none if the file is an annotation."""
    if _video_of(path.stem, videos):
        return []
    lines = [line.strip() for line in _text(path)[0].splitlines() if line.strip()]
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
    match = _video_of(path.stem, videos)
    if match is None:
        detail = f"no video named {path.stem} (or without _left, _right) under index.raw"
        found.dropped.append(Dropped(trial=path.stem, split=split, reason=Drop.VIDEO_MISSING, detail=detail))
        return
    video, subject = match
    try:
        annotation = read_annotation(path, classes)
    except UserError as error:
        found.dropped.append(
            Dropped(trial=path.stem, split=split, reason=Drop.ANNOTATION_UNREADABLE, detail=str(error))
        )
        return
    notes = [annotation.note] if annotation.note else []
    if len(videos[video]) > 1:
        notes.append(f"several videos named {video}; read {videos[video][0].name}")
    found.trials.append(
        Trial(
            name=path.stem,
            video=video,
            subject=subject,
            split=split,
            path=videos[video][0],
            rows=annotation.rows,
            labels=annotation.labels,
            note="; ".join(notes),
        )
    )
    found.dropped += [
        Dropped(trial=path.stem, split=split, reason=reason, frames=frames)
        for reason, frames in annotation.dropped.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation file: usable labels by frame index, the number of rows, and what was left out."""

    labels: dict[int, int]
    rows: int
    dropped: Counter[Drop]
    note: str = ""


def read_annotation(path: Path, classes: int) -> Annotation:
    """Reads a header line of class names, then one integer a frame; −1 means ignore.

    Tolerates CRLF, blanks, a missing header (Aff-Wild2's order is assumed) and bytes that are not UTF-8, and says so.

    Raises:
        UserError: if the file has no row, or names a class that is not one of `CLASSES`.
    """
    text, note = _text(path)
    lines = [line.strip() for line in io.StringIO(text.rstrip(), newline=None)]
    order: list[int] | None = None
    if lines and _as_int(lines[0]) is None:
        order = _header_order(path, lines.pop(0))
    elif lines:
        note = "; ".join(filter(None, [note, "no header line; Aff-Wild2's class order assumed"]))
    if not lines:
        raise UserError(f"{path.name}: no rows")
    order = order or list(range(len(CLASSES)))
    labels: dict[int, int] = {}
    dropped: Counter[Drop] = Counter()
    for frame_index, line in enumerate(lines):
        label = _label(line, order, classes)
        if isinstance(label, Drop):
            dropped[label] += 1
        else:
            labels[frame_index] = label
    return Annotation(labels=labels, rows=len(lines), dropped=dropped, note=note)


def _text(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return content.decode("latin-1"), "not UTF-8, read as Latin-1"


def _as_int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _header_order(path: Path, header: str) -> list[int]:
    names = [name.strip().lower() for name in header.split(",")]
    unknown = [name for name in names if name not in _CLASS_OF]
    if unknown:
        raise UserError(f"{path.name}: header names {unknown[0][:40]!r}, which is none of {', '.join(CLASSES)}")
    if len(set(names)) < len(names):
        raise UserError(f"{path.name}: header names a class twice")
    return [_CLASS_OF[name] for name in names]


def _label(line: str, order: list[int], classes: int) -> int | Drop:
    value = _as_int(line)
    if value is None:
        return Drop.LABEL_UNREADABLE
    if value == IGNORE:
        return Drop.LABEL_IGNORED
    if not 0 <= value < len(order):
        return Drop.LABEL_OUT_OF_RANGE
    return order[value] if order[value] < classes else Drop.CLASS_EXCLUDED


def _keep_one_split_a_video(found: RawSet) -> None:
    """A video in two splits would leak: the evaluation splits keep it, training loses it, and it is listed."""
    split_of: dict[str, str] = {}
    for split in _PRECEDENCE:
        for trial in found.trials:
            if trial.split == split:
                split_of.setdefault(trial.video, split)
    for trial in found.trials:
        if split_of[trial.video] != trial.split:
            detail = f"video {trial.video} is also in split {split_of[trial.video]}, which keeps it"
            found.dropped.append(
                Dropped(
                    trial=trial.name,
                    split=trial.split,
                    reason=Drop.SPLIT_CONFLICT,
                    frames=len(trial.labels),
                    detail=detail,
                )
            )
    found.trials = [trial for trial in found.trials if split_of[trial.video] == trial.split]


def _report_unannotated(found: RawSet, videos: dict[str, list[Path]], listed: dict[str, str]) -> None:
    used = {trial.video for trial in found.trials} | {
        match[0] for entry in found.dropped if (match := _video_of(entry.trial, videos))
    }
    for video in sorted(videos.keys() - used):
        found.dropped.append(Dropped(trial=video, split=listed.get(video, ""), reason=Drop.VIDEO_WITHOUT_ANNOTATION))
