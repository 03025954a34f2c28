"""Trials and the videos or pictures they are about, examined, as rows of the index's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import files, video
from pipeline.contract import Drop
from pipeline.datasets.base import NO_LABEL, Dropped, Pictures, Trial, told
from pipeline.datasets.leakage import shared_pictures
from pipeline.marks import GIVEN_BOX, GIVEN_POINTS, INDEX_COLUMNS, MARK_COLUMNS, NO_LISTED_LABEL, PLACE_COLUMNS
from pipeline.pictures import Measured, Place, measure
from pipeline.video import VideoInfo

_NO_VIDEO = VideoInfo(width=0, height=0, fps=0.0, declared_frames=0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is examined: a video file, or the pictures of the rows that have a label, in the raw set's folder."""

    video: str
    path: Path
    places: tuple[Place, ...] = ()
    rows: tuple[int, ...] = ()
    declared: int = 0


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A video's header and digest; of pictures as many frames as there are rows, and what each one is."""

    info: VideoInfo
    sha256: str
    pictures: Measured | None = None


def sources(trials: Sequence[Trial]) -> list[Source]:
    """What the trials are about, each video once, by name."""
    found: dict[str, Source] = {}
    for trial in sorted(trials, key=lambda trial: trial.video):
        if trial.pictures is None:
            found[trial.video] = Source(video=trial.video, path=trial.path)
        else:
            found[trial.video] = Source(
                video=trial.video,
                path=trial.path,
                places=places(trial.pictures),
                rows=tuple(np.flatnonzero(trial.labels != NO_LABEL).tolist()),
                declared=len(trial.labels) + trial.pictures.beyond,
            )
    return list(found.values())


def places(pictures: Pictures) -> tuple[Place, ...]:
    """Where the picture of each row is."""
    offsets = [-1] * len(pictures.names) if pictures.offsets is None else pictures.offsets.tolist()
    return tuple(map(Place, pictures.names, offsets))


def examine(source: Source) -> Examined:
    """Opens and digests one video, or each of the pictures; raises `UserError` if it is not a video."""
    if not source.declared:
        return Examined(info=video.probe(source.path), sha256=files.digest_file(source.path))
    measured = measure(source.path, source.places, source.rows)
    info = replace(_NO_VIDEO, declared_frames=source.declared)
    return Examined(info=info, sha256=measured.digest, pictures=measured)


def unreadable(trials: Sequence[Trial], failures: Mapping[str, tuple[Drop, str]]) -> list[Dropped]:
    """The trials whose video, by its name, failed; why, and what was noted of them."""
    return [
        Dropped(
            trial=trial.name,
            split=trial.split,
            reason=failures[trial.video][0],
            frames=trial.labelled,
            detail="; ".join(filter(None, [failures[trial.video][1], trial.note])),
        )
        for trial in trials
        if trial.video in failures
    ]


def without_failed(trial: Trial, examined: Examined) -> tuple[Trial, list[Dropped]]:
    """The trial without the rows whose picture cannot be read, and these, counted by reason with some of the names."""
    if examined.pictures is None or not examined.pictures.failed:
        return trial, []
    failed = examined.pictures.failed
    reasons: dict[Drop, list[str]] = {}
    own = trial.marks.get("picture")
    for row, (reason, detail) in failed.items():
        reasons.setdefault(reason, []).append(detail if own is None else f"{own[row]}: {detail}")
    return unlabelled(trial, list(failed)), [
        Dropped(trial=trial.name, split=trial.split, reason=reason, frames=len(details), detail=told(details))
        for reason, details in reasons.items()
    ]


def without_shared(trials: Sequence[Trial], examined: Mapping[str, Examined]) -> tuple[list[Trial], list[Dropped]]:
    """Trials of pictures without those that an evaluation split has too, and these, counted with some of the names."""
    alike = [
        (trial, trial.marks.get("picture", trial.pictures.names), read)
        for trial in trials
        if trial.pictures is not None and (read := examined[trial.video].pictures) is not None
    ]
    lost = shared_pictures([trial.split for trial, _, _ in alike], [read.digests for _, _, read in alike])
    changed: dict[str, Trial] = {}
    dropped = []
    for number, entries in lost.items():
        trial, names, read = alike[number]
        rows = [int(read.rows[place]) for place, _, _ in entries]
        details = []
        for row, (_, other, other_place) in zip(rows, entries, strict=True):
            keeper, other_names, other_read = alike[other]
            kept = other_names[other_read.rows[other_place]]
            details.append(f"{names[row]} is {kept} of split {keeper.split}")
        changed[trial.name] = unlabelled(trial, rows)
        reason = Drop.DUPLICATE_PICTURE
        dropped.append(
            Dropped(trial=trial.name, split=trial.split, reason=reason, frames=len(rows), detail=told(details))
        )
    return [changed.get(trial.name, trial) for trial in trials], dropped


def unlabelled(trial: Trial, rows: Sequence[int]) -> Trial:
    """The trial without the labels of these rows."""
    labels = trial.labels.copy()
    labels[list(rows)] = NO_LABEL
    return replace(trial, labels=labels)


def trial_row(trial: Trial, examined: Examined, *, raw: Path) -> dict[str, object]:
    """A row of the trial table; the path is relative to `raw`."""
    info = examined.info
    return {
        "trial": trial.name,
        "video": trial.video,
        "subject": trial.subject,
        "split": trial.split,
        "rows": len(trial.labels),
        "labelled": trial.labelled,
        "declared_frames": info.declared_frames,
        "difference": len(trial.labels) - info.declared_frames,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "path": trial.path.relative_to(raw).as_posix(),
        "sha256": examined.sha256,
        "note": trial.note,
    }


def frame_rows(trial: Trial, examined: Examined | None = None) -> pd.DataFrame:
    """Rows of the frame table, one a usable label."""
    indices = np.flatnonzero(trial.labels != NO_LABEL)
    common = {"trial": trial.name, "video": trial.video, "subject": trial.subject, "split": trial.split}
    columns: dict[str, Any] = common | {"frame_index": indices, "label": trial.labels[indices]}
    columns |= dict.fromkeys((*MARK_COLUMNS, *PLACE_COLUMNS)) | {"listed_label": NO_LISTED_LABEL}
    if trial.pictures is not None and examined is not None and examined.pictures is not None:
        columns |= _place_columns(trial.pictures, examined.pictures, indices)
    columns |= {name: list(values[indices]) for name, values in trial.marks.items()}
    return pd.DataFrame(columns)[list(INDEX_COLUMNS)]


def _place_columns(pictures: Pictures, measured: Measured, indices: Any) -> Mapping[str, Any]:
    at = np.searchsorted(measured.rows, indices)
    where = places(pictures)
    columns: dict[str, Any] = {
        "file": [where[index].name for index in indices],
        "offset": [where[index].offset for index in indices],
        "width": measured.sizes[at, 0],
        "height": measured.sizes[at, 1],
        "sha256": [digest.tobytes().hex() for digest in measured.digests[at]],
    }
    columns["picture"] = columns["file"]
    if pictures.boxes is not None:
        columns |= dict(zip(GIVEN_BOX, pictures.boxes[indices].T, strict=True))
    if pictures.points is not None:
        columns |= dict(zip(GIVEN_POINTS, pictures.points[indices].reshape(-1, 10).T, strict=True))
    return columns
