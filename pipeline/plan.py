"""Tables to tasks: what each stage has to do, video by video or shard by shard."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import files, shards, tables
from pipeline.alignment import AlignTask, TrialFrames
from pipeline.contract import FACE_COLUMNS, FRAME_COLUMNS, LANDMARK_COLUMNS, Paths, escape, sample_key
from pipeline.extraction import ExtractTask
from pipeline.faces import FrameSize
from pipeline.mismatch import sampled
from pipeline.params import Params


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
            store=files.work_store(),
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
            store=files.work_store(),
        )
        for row in videos.to_dict("records")
        if row["video"] in trials
    ]


def placed_samples(paths: Paths, seed: int) -> pd.DataFrame:
    """Landmarks, labels and picture places of every face, in the shuffled order in which they are stored."""
    landmarks = tables.read_table(paths.landmarks, LANDMARK_COLUMNS)
    frames = tables.read_table(paths.index, FRAME_COLUMNS)[["trial", "frame_index", "split", "label"]]
    samples = landmarks.merge(frames, on=["trial", "frame_index"], validate="one_to_one")
    pairs = zip(samples["trial"], samples["frame_index"], strict=True)
    samples["key"] = [sample_key(trial, index) for trial, index in pairs]
    faces = tables.read_table(paths.faces / "faces.parquet", FACE_COLUMNS)
    samples = samples.merge(faces, on="key", validate="one_to_one").assign(shard="")
    return samples.iloc[shards.shuffled(samples["key"].tolist(), seed)]


def shard_tasks(params: Params, samples: pd.DataFrame, folder: Path, faces: Path) -> list[shards.ShardTask]:
    """A task a shard: consecutive samples of one split, in shuffled order."""
    tasks = []
    for split, group in samples.groupby("split", sort=True):
        bounds = shards.shard_bounds(len(group), params.shard.samples_per_shard)
        for number, (begin, end) in enumerate(bounds):
            tasks.append(
                shards.ShardTask(
                    path=folder / f"{split}-{number:06d}.tar",
                    split=str(split),
                    samples=group.iloc[begin:end],
                    source=params.dataset,
                    faces=faces,
                    classes=params.index.classes,
                )
            )
    return tasks
