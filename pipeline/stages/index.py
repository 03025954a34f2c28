"""Stage index: the raw set's layout to a frame table, a trial table, and a list of what did not fit."""

import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline import engine, tables
from pipeline.contract import DROP_COLUMNS, TRIAL_COLUMNS, Drop, Paths, UserError
from pipeline.datasets.base import Dropped, Trial, because, drop_rows
from pipeline.datasets.layouts import read_layout
from pipeline.datasets.leakage import keep_one_split, with_duplicates_noted
from pipeline.marks import INDEX_COLUMNS
from pipeline.overrides import CHANGE_COLUMNS, CHANGES, OVERRIDES, change_rows, corrected, read_overrides, told
from pipeline.params import Params
from pipeline.stage import run_stage
from pipeline.trials import (
    Examined,
    examine,
    frame_rows,
    sources,
    trial_row,
    unreadable,
    without_failed,
    without_shared,
)
from pipeline.workers.nursery import nursery


def build_index(params: Params) -> None:
    """Reads the layout, examines every video or picture that has an annotation, and writes the tables."""
    paths, raw = Paths(dataset=params.dataset), Path(params.index.raw)
    if not raw.is_dir():
        raise UserError(f"index.raw: no folder {raw}; see docs/datasets.md for where a raw set goes")
    found = read_layout(params.index)
    tally = engine.run_all(
        examine,
        sources(found.trials),
        name=lambda source: source.video,
        label="index",
        unit="videos",
        engine=params.engine,
    )
    examined = tally.results
    kept, dropped = _fitting([trial for trial in found.trials if trial.video in examined], examined)
    kept, excluded, changes = corrected(kept, read_overrides(OVERRIDES, params.dataset), params.index.classes)
    if changes:
        print(f"index: {told(changes)}", flush=True)
    failures = {failure.name: (failure.drop(Drop.VIDEO_UNREADABLE), failure.reason) for failure in tally.failures}
    dropped += found.dropped + excluded + unreadable(found.trials, failures)
    if not any(trial.labelled for trial in kept):
        raise UserError(f"index.raw: {raw} has no video or picture with a usable label{because(dropped)}")
    rows = [trial_row(trial, examined[trial.video], raw=raw) for trial in kept]
    tables.write_table(paths.trials, rows, TRIAL_COLUMNS)
    with tables.TableWriter(paths.index, INDEX_COLUMNS) as frames:
        for trial in kept:
            frames.add(frame_rows(trial, examined[trial.video]))
    tables.write_table(CHANGES, change_rows(changes), CHANGE_COLUMNS)
    tables.write_table(paths.index_drops, drop_rows(dropped, "index"), DROP_COLUMNS)
    if absent := [entry for entry in dropped if entry.reason in (Drop.VIDEO_MISSING, Drop.ANNOTATION_UNREADABLE)]:
        print(f"index: annotations that are not used{because(absent)}", file=sys.stderr)


def _fitting(trials: list[Trial], examined: Mapping[str, Examined]) -> tuple[list[Trial], list[Dropped]]:
    """Trials by name with what can be read and evaluated honestly, and what was left out for that."""

    def digest(trial: Trial) -> str:
        return examined[trial.video].sha256 if trial.pictures is None else trial.video

    kept, dropped = keep_one_split(trials, same=digest, reason=Drop.DUPLICATE_VIDEO)
    read = [without_failed(trial, examined[trial.video]) for trial in with_duplicates_noted(kept, same=digest)]
    honest, shared = without_shared([trial for trial, _ in read], examined)
    dropped += shared + [entry for _, failed in read for entry in failed]
    return sorted(honest, key=lambda trial: trial.name), dropped


if __name__ == "__main__":
    with nursery():
        run_stage("index", build_index)
