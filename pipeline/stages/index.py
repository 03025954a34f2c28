"""Stage index: the raw set's layout to a frame table, a trial table, and a list of what did not fit."""

from pathlib import Path

from pipeline import engine, tables
from pipeline.contract import DROP_COLUMNS, FRAME_COLUMNS, TRIAL_COLUMNS, Drop, Paths, UserError
from pipeline.datasets import LAYOUTS
from pipeline.datasets.base import Dropped, Trial, drop_rows
from pipeline.datasets.leakage import keep_one_split, with_duplicates_noted
from pipeline.params import Params
from pipeline.stage import run_stage
from pipeline.trials import Examined, examine, frame_rows, trial_row


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
        engine=params.engine,
    )
    readable = [trial for trial in found.trials if str(trial.path) in tally.results]

    def digest(trial: Trial) -> str:
        return tally.results[str(trial.path)].sha256

    kept, duplicates = keep_one_split(readable, same=digest, reason=Drop.DUPLICATE_VIDEO)
    if not any(trial.labelled for trial in kept):
        raise UserError(f"index.raw: {raw} has no video with a usable label")
    kept = sorted(with_duplicates_noted(kept, same=digest), key=lambda trial: trial.name)
    dropped = found.dropped + _unreadable(found.trials, tally) + duplicates
    rows = [trial_row(trial, tally.results[str(trial.path)], raw=raw) for trial in kept]
    tables.write_table(paths.trials, rows, TRIAL_COLUMNS)
    with tables.TableWriter(paths.index, FRAME_COLUMNS) as frames:
        for trial in kept:
            frames.add(frame_rows(trial))
    tables.write_table(paths.index_drops, drop_rows(dropped, "index"), DROP_COLUMNS)


def _unreadable(trials: list[Trial], tally: engine.Tally[Examined]) -> list[Dropped]:
    reasons = {failure.name: failure.reason for failure in tally.failures}
    return [
        Dropped(
            trial=trial.name,
            split=trial.split,
            reason=Drop.VIDEO_UNREADABLE,
            frames=trial.labelled,
            detail=reasons[str(trial.path)],
        )
        for trial in trials
        if str(trial.path) in reasons
    ]


if __name__ == "__main__":
    run_stage("index", build_index)
