"""Trials and their videos, examined, as rows of the index's tables."""

from dataclasses import dataclass
from pathlib import Path

from pipeline import files, video
from pipeline.datasets.base import Trial


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
        "rows": trial.rows,
        "labelled": len(trial.labels),
        "declared_frames": info.declared_frames,
        "difference": trial.rows - info.declared_frames,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "path": trial.path.relative_to(raw).as_posix(),
        "sha256": examined.sha256,
        "note": trial.note,
    }


def frame_rows(trial: Trial) -> list[dict[str, object]]:
    """Rows of the frame table, one a usable label."""
    common = {"trial": trial.name, "video": trial.video, "subject": trial.subject, "split": trial.split}
    return [common | {"frame_index": frame_index, "label": label} for frame_index, label in trial.labels.items()]
