"""Stage index: the raw set's layout to a frame table, a trial table, and a list of what did not fit."""

from functools import partial
from pathlib import Path

from pipeline import engine, tables
from pipeline.contract import DROP_COLUMNS, FRAME_COLUMNS, TRIAL_COLUMNS, Drop, Paths, UserError
from pipeline.datasets import LAYOUTS
from pipeline.datasets.base import Dropped, drop_rows
from pipeline.params import Params
from pipeline.stage import run_stage
from pipeline.trials import examine, frame_rows, trial_row


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
    row = partial(trial_row, raw=raw)
    tables.write_table(paths.trials, [row(trial, tally.results[str(trial.path)]) for trial in kept], TRIAL_COLUMNS)
    tables.write_table(paths.index, [entry for trial in kept for entry in frame_rows(trial)], FRAME_COLUMNS)
    tables.write_table(paths.index_drops, drop_rows(dropped, "index"), DROP_COLUMNS)


if __name__ == "__main__":
    run_stage("index", build_index)
