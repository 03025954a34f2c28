"""Stage index: the raw set's layout to a frame table, a trial table, and a list of what did not fit."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import engine, files, tables, video
from pipeline.contract import DROP_COLUMNS, FRAME_COLUMNS, TRIAL_COLUMNS, Drop, Paths, UserError
from pipeline.datasets import LAYOUTS
from pipeline.datasets.base import Dropped, Trial, drop_rows
from pipeline.params import Params
from pipeline.stage import run_stage


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A video's header and digest."""

    info: video.VideoInfo
    sha256: str


def examine(path: Path) -> Examined:
    """Opens one video and digests its bytes; raises `UserError` if it is not a video."""
    return Examined(info=video.probe(path), sha256=files.digest_file(path))


def build_index(params: Params) -> None:
    """Reads the layout, examines every video that has an annotation, and writes the tables."""
    paths, raw = Paths(dataset=params.dataset), Path(params.index.raw)
    if not raw.is_dir():
        raise UserError(f"index.raw: no folder {raw}; see docs/datasets.md for where a raw set goes")
    found = LAYOUTS[params.index.layout](raw, raw / params.index.annotations, params.index.classes)
    tally = engine.run_all(
        examine,
        sorted({trial.path for trial in found.trials}),
        name=str,
        label="index",
        unit="videos",
        workers=params.engine.workers,
        max_failures=params.engine.max_failures,
    )
    reasons = {failure.name: failure.reason for failure in tally.failures}
    dropped = found.dropped + [
        Dropped(
            trial=trial.name,
            split=trial.split,
            reason=Drop.VIDEO_UNREADABLE,
            frames=len(trial.labels),
            detail=reasons[str(trial.path)],
        )
        for trial in found.trials
        if str(trial.path) in reasons
    ]
    kept = [trial for trial in found.trials if str(trial.path) in tally.results]
    kept.sort(key=lambda trial: trial.name)
    if not any(trial.labels for trial in kept):
        raise UserError(f"index.raw: {raw} has no video with a usable label")
    row = partial(_trial_row, raw=raw)
    tables.write_table(paths.trials, [row(trial, tally.results[str(trial.path)]) for trial in kept], TRIAL_COLUMNS)
    tables.write_table(paths.index, [entry for trial in kept for entry in _frame_rows(trial)], FRAME_COLUMNS)
    tables.write_table(paths.index_drops, drop_rows(dropped, "index"), DROP_COLUMNS)


def _trial_row(trial: Trial, examined: Examined, *, raw: Path) -> dict[str, object]:
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


def _frame_rows(trial: Trial) -> list[dict[str, object]]:
    common = {"trial": trial.name, "video": trial.video, "subject": trial.subject, "split": trial.split}
    return [common | {"frame_index": frame_index, "label": label} for frame_index, label in trial.labels.items()]


if __name__ == "__main__":
    run_stage("index", build_index)
