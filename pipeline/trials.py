"""Trials and their videos, examined, as rows of the index's tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import files, video
from pipeline.datasets.base import NO_LABEL, Trial


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A video's header and digest."""

    info: video.VideoInfo
    sha256: str


def examine(path: Path) -> Examined:
    """Opens one video and digests its bytes; raises `UserError` if it is not a video."""
    return Examined(info=video.probe(path), sha256=files.digest_file(path))


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


def frame_rows(trial: Trial) -> pd.DataFrame:
    """Rows of the frame table, one a usable label."""
    frame_indices = np.flatnonzero(trial.labels != NO_LABEL)
    common = {"trial": trial.name, "video": trial.video, "subject": trial.subject, "split": trial.split}
    return pd.DataFrame(common | {"frame_index": frame_indices, "label": trial.labels[frame_indices]})
