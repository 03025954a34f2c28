"""Tables to tasks: what each stage has to do, video by video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import tables
from pipeline.alignment import AlignTask, TrialFrames
from pipeline.contract import FRAME_COLUMNS, GIVING_LAYOUTS, Paths, UserError, escape
from pipeline.extraction import ExtractTask
from pipeline.faces import FrameSize
from pipeline.marks import GIVEN_BOX, GIVEN_POINTS, PLACE_COLUMNS
from pipeline.mismatch import sampled
from pipeline.params import Params
from pipeline.pictures import Place
from pipeline.stills import Still
from pipeline.store import work_store


def read_frames(paths: Paths, more: dict[str, str] | None = None) -> pd.DataFrame:
    """The frame table, with a code a row instead of each repeated text.

    Args:
        paths: of the dataset.
        more: columns that are wanted besides `FRAME_COLUMNS`.
    """
    columns = FRAME_COLUMNS | (more or {})
    return tables.read_table(paths.index, columns, categories=("trial", "video", "subject", "split"))


def extract_tasks(params: Params, frames: pd.DataFrame, trials: pd.DataFrame) -> list[ExtractTask]:
    """A task a video: its sampled, labelled frames over all of its trials.

    A video without a labelled frame has a task too: its frames are counted.
    """
    groups = frames.groupby("video", observed=True)
    labelled = {str(video): np.unique(indices) for video, indices in groups["frame_index"]}
    pictures = {str(video): _places(rows) for video, rows in groups if rows["file"].notna().any()}
    videos = {str(row["video"]): row for row in trials.to_dict("records")}
    tasks = []
    for video, row in sorted(videos.items()):
        wanted = tuple(sampled(labelled.get(video, ()), params.extract.stride))
        path, places = Path(params.index.raw) / str(row["path"]), pictures.get(video, {})
        task = ExtractTask(
            video=video,
            path=path,
            sha256=str(row["sha256"]),
            wanted=wanted,
            max_side=params.extract.max_side,
            quality=params.extract.quality,
            store=work_store(),
            pictures=tuple(places[index] for index in wanted) if path.is_dir() else None,
            declared_frames=int(row["declared_frames"]),
        )
        tasks.append(task)
    return tasks


def _places(rows: pd.DataFrame) -> dict[int, Place]:
    return dict(zip(rows["frame_index"], map(Place, rows["file"], rows["offset"].astype("int64")), strict=True))


def align_tasks(params: Params, paths: Paths, frames: pd.DataFrame, videos: pd.DataFrame) -> list[AlignTask]:
    """A task a video: its stored frames and the trials that annotate them.

    Raises:
        UserError: if there is none.
    """
    if frames.empty:
        raise UserError(f"no video has a stored frame with a label: see {paths.mismatch}, and index.mismatch")
    trials: dict[str, list[TrialFrames]] = {}
    for _, group in frames.groupby("trial", observed=True):
        row = {column: str(group[column].iloc[0]) for column in ("video", "trial", "subject", "split")}
        indices = tuple(int(index) for index in group["frame_index"])
        trial = TrialFrames(name=row["trial"], subject=row["subject"], split=row["split"], frame_indices=indices)
        trials.setdefault(row["video"], []).append(trial)
    stills = {str(video): _stills(rows) for video, rows in frames.groupby("video", observed=True) if "width" in rows}
    return [
        AlignTask(
            video=str(row["video"]),
            frames_tar=paths.frames / f"{escape(str(row['video']))}.tar",
            frames_key=str(row["key"]),
            size=FrameSize(width=int(row["width"]), height=int(row["height"])),
            trials=tuple(trials[str(row["video"])]),
            params=params.align,
            store=work_store(),
            stills=stills.get(str(row["video"])),
        )
        for row in videos.to_dict("records")
        if row["video"] in trials
    ]


def still_columns(layout: str) -> dict[str, str]:
    """What the align stage wants to know of single pictures: nothing of videos, the face of sets that give one."""
    if layout == "affwild2":
        return {}
    given = (*GIVEN_BOX, *GIVEN_POINTS) if layout in GIVING_LAYOUTS else ()
    return {name: PLACE_COLUMNS[name] for name in ("width", "height", *given)}


def _stills(rows: pd.DataFrame) -> dict[int, Still]:
    """What is known of each picture of one video."""
    indices, widths, heights = (rows[name].astype("int64").tolist() for name in ("frame_index", "width", "height"))
    boxes = _given(rows, GIVEN_BOX)
    points = _given(rows, GIVEN_POINTS)
    return {
        index: Still(width=width, height=height, box=box, points=None if five is None else five.reshape(5, 2))
        for index, width, height, box, five in zip(indices, widths, heights, boxes, points, strict=True)
    }


def _given(rows: pd.DataFrame, columns: Sequence[str]) -> list[NDArray[np.float64] | None]:
    if columns[0] not in rows:
        return [None] * len(rows)
    return [None if np.isnan(numbers).any() else numbers for numbers in rows[list(columns)].to_numpy()]
