"""Stage extract: every sampled, labelled frame of each video into one tar a video; counts compared under the policy."""

import pandas as pd

from pipeline import engine, files, tables
from pipeline.contract import (
    DROP_COLUMNS,
    MISMATCH_COLUMNS,
    TRIAL_COLUMNS,
    VIDEO_COLUMNS,
    Drop,
    Paths,
    escape,
)
from pipeline.datasets.base import drop_rows
from pipeline.extraction import FRAMES_TAR, extract_video
from pipeline.mismatch import compare, unreadable_pictures
from pipeline.params import Params
from pipeline.plan import extract_tasks, read_frames
from pipeline.stage import run_stage
from pipeline.store import work_store
from pipeline.workers.nursery import nursery


def extract_all(params: Params) -> None:
    """Decodes every indexed video and assembles the frames folder from the work store."""
    paths = Paths(dataset=params.dataset)
    frames = read_frames(paths, {"file": "string", "offset": "int64"})
    trials = tables.read_table(paths.trials, TRIAL_COLUMNS)
    tally = engine.run_all(
        extract_video,
        extract_tasks(params, frames, trials),
        name=lambda task: task.video,
        label="extract",
        unit="videos",
        engine=params.engine,
        size=lambda task: len(task.wanted),
    )
    reasons = {failure.name: (failure.drop(Drop.VIDEO_UNREADABLE), failure.reason) for failure in tally.failures}
    mismatch, dropped = compare(
        frames,
        trials,
        {video: extracted.found for video, extracted in tally.results.items()},
        reasons,
        policy=params.index.mismatch,
        tolerance=params.index.tolerance,
        stride=params.extract.stride,
    )
    unreadable = {video: extracted.unreadable for video, extracted in tally.results.items()}
    skipped = {row["trial"] for row in mismatch if row["action"] == "skipped"}
    dropped += unreadable_pictures(trials[~trials["trial"].isin(skipped)], unreadable)
    earlier = tables.read_table(paths.index_drops, DROP_COLUMNS)
    drops = pd.concat([earlier, tables.table(drop_rows(dropped, "extract"), DROP_COLUMNS)])
    with files.fresh_folder(paths.frames) as folder:
        for video, extracted in tally.results.items():
            files.link_or_copy(extracted.folder / FRAMES_TAR, folder / f"{escape(video)}.tar")
        rows = [{column: getattr(entry, column) for column in VIDEO_COLUMNS} for entry in tally.results.values()]
        tables.write_table(folder / "videos.parquet", rows, VIDEO_COLUMNS)
        tables.write_table(folder / "drops.parquet", drops, DROP_COLUMNS)
        tables.write_table(folder / "trials.parquet", mismatch, MISMATCH_COLUMNS)
    tables.write_table(paths.mismatch, mismatch, MISMATCH_COLUMNS)


if __name__ == "__main__":
    with nursery():
        run_stage("extract", extract_all, around=work_store().in_use())
