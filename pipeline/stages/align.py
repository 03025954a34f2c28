"""Stage align: faces and landmarks of every video's frames; the annotated subject cut out upright, 224 x 224."""

import pandas as pd

from pipeline import engine, files, tables
from pipeline.alignment import DETECTING, Aligned, AlignTask, align_video, to_detect
from pipeline.contract import (
    DROP_COLUMNS,
    FACE_COLUMNS,
    LANDMARK_COLUMNS,
    MISMATCH_COLUMNS,
    VIDEO_COLUMNS,
    Drop,
    Paths,
    UserError,
    escape,
)
from pipeline.crops import FACES, FACES_TAR, LANDMARKS
from pipeline.datasets.base import Dropped, drop_rows
from pipeline.mismatch import usable
from pipeline.params import Params
from pipeline.plan import align_tasks, read_frames, still_columns
from pipeline.stage import run_stage
from pipeline.store import work_store
from pipeline.subjects import SUBJECT_COLUMNS
from pipeline.workers.nursery import nursery


def align_all(params: Params) -> None:
    """Aligns every video and assembles the faces folder and the landmark table from the work store."""
    paths = Paths(dataset=params.dataset)
    trials = tables.read_table(paths.frames / "trials.parquet", MISMATCH_COLUMNS)
    labelled = read_frames(paths, still_columns(params.index.layout))
    frames = usable(labelled, trials, stride=params.extract.stride)
    videos = tables.read_table(paths.frames / "videos.parquet", VIDEO_COLUMNS)
    tasks = align_tasks(params, paths, frames, videos)
    tally = engine.run_all(
        align_video,
        tasks,
        name=lambda task: task.video,
        label="align",
        unit="videos",
        engine=params.engine,
        size=lambda task: sum(len(trial.frame_indices) for trial in task.trials),
        modules=DETECTING if any(to_detect(task) for task in tasks) else (),
    )
    if not any(aligned.faces for aligned in tally.results.values()):
        raise UserError("no face found in any video; try a lower align.min_face or align.min_confidence")
    earlier = tables.read_table(paths.frames / "drops.parquet", DROP_COLUMNS)
    drops = pd.concat([earlier, tables.table(drop_rows(_dropped(tally, tasks), "align"), DROP_COLUMNS)])
    with files.fresh_folder(paths.faces) as folder:
        for video, aligned in tally.results.items():
            files.link_or_copy(aligned.folder / FACES_TAR, folder / f"{escape(video)}.tar")
        folders = [aligned.folder for aligned in tally.results.values()]
        tables.join_tables(folder / FACES, [part / FACES for part in folders], FACE_COLUMNS)
        tables.write_table(folder / "drops.parquet", drops, DROP_COLUMNS)
        tables.write_table(folder / "trials.parquet", trials, MISMATCH_COLUMNS)
    tables.join_tables(paths.landmarks, [part / LANDMARKS for part in folders], LANDMARK_COLUMNS)
    subjects = [row for aligned in tally.results.values() for row in aligned.subjects]
    tables.write_table(paths.subjects, subjects, SUBJECT_COLUMNS)


def _dropped(tally: engine.Tally[Aligned], tasks: list[AlignTask]) -> list[Dropped]:
    reasons = {failure.name: failure.reason for failure in tally.failures}
    failed = [(trial, reasons[task.video]) for task in tasks if task.video in reasons for trial in task.trials]
    return [entry for aligned in tally.results.values() for entry in aligned.dropped] + [
        Dropped(
            trial=trial.name,
            split=trial.split,
            reason=Drop.WORKER_FAILED,
            frames=len(trial.frame_indices),
            detail=reason,
        )
        for trial, reason in failed
    ]


if __name__ == "__main__":
    with nursery():
        run_stage("align", align_all, around=work_store().in_use())
