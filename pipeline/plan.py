"""Tables to tasks: what each stage has to do, video by video."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import tables
from pipeline.alignment import AlignTask, TrialFrames
from pipeline.contract import FRAME_COLUMNS, Paths, escape
from pipeline.extraction import ExtractTask
from pipeline.faces import FrameSize
from pipeline.mismatch import sampled
from pipeline.params import Params
from pipeline.store import work_store


def read_frames(paths: Paths) -> pd.DataFrame:
    """The frame table, with a code a row instead of each repeated text."""
    return tables.read_table(paths.index, FRAME_COLUMNS, categories=("trial", "video", "subject", "split"))


def extract_tasks(params: Params, frames: pd.DataFrame, trials: pd.DataFrame) -> list[ExtractTask]:
    """A task a video: its sampled, labelled frames over all of its trials.

    A video without a labelled frame has a task too: its frames are counted.
    """
    groups = frames.groupby("video", observed=True)["frame_index"]
    labelled = {str(video): np.unique(indices) for video, indices in groups}
    videos = {str(row["video"]): row for row in trials.to_dict("records")}
    return [
        ExtractTask(
            video=video,
            path=Path(params.index.raw) / str(row["path"]),
            sha256=str(row["sha256"]),
            wanted=tuple(sampled(labelled.get(video, ()), params.extract.stride)),
            max_side=params.extract.max_side,
            quality=params.extract.quality,
            store=work_store(),
        )
        for video, row in sorted(videos.items())
    ]


def align_tasks(params: Params, paths: Paths, frames: pd.DataFrame, videos: pd.DataFrame) -> list[AlignTask]:
    """A task a video: its stored frames and the trials that annotate them."""
    trials: dict[str, list[TrialFrames]] = {}
    for _, group in frames.groupby("trial", observed=True):
        row = {column: str(group[column].iloc[0]) for column in ("video", "trial", "subject", "split")}
        indices = tuple(int(index) for index in group["frame_index"])
        trial = TrialFrames(name=row["trial"], subject=row["subject"], split=row["split"], frame_indices=indices)
        trials.setdefault(row["video"], []).append(trial)
    return [
        AlignTask(
            video=str(row["video"]),
            frames_tar=paths.frames / f"{escape(str(row['video']))}.tar",
            frames_key=str(row["key"]),
            size=FrameSize(width=int(row["width"]), height=int(row["height"])),
            trials=tuple(trials[str(row["video"])]),
            params=params.align,
            store=work_store(),
        )
        for row in videos.to_dict("records")
        if row["video"] in trials
    ]
