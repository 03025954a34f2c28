"""Annotation rows against decoded frames: the stated policy, its report, and the labels that fall away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import Drop, UserError
from pipeline.datasets.base import Dropped


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What is done with a trial whose rows and frames were compared."""

    action: str
    reason: Drop | None = None


def judge_counts(rows: int, decoded: int, *, policy: str, tolerance: int) -> Agreement:
    """Compares annotation rows with decoded frames.

    Within the tolerance the surplus is trimmed under every policy. Beyond it `trim` trims all the same, `skip` leaves
    the trial out, `error` asks the caller to stop. Labels of rows that have no frame are always dropped.
    """
    difference = rows - decoded
    if difference == 0:
        return Agreement(action="equal")
    if abs(difference) <= tolerance or policy == "trim":
        return Agreement(action="trimmed")
    if policy == "skip":
        return Agreement(action="skipped", reason=Drop.COUNTS_DISAGREE)
    return Agreement(action="error", reason=Drop.COUNTS_DISAGREE)


def sampled(frame_indices: Iterable[int], stride: int) -> list[int]:
    """The frames that are used: every `stride`-th of the video, counted from its first."""
    return [int(index) for index in frame_indices if index % stride == 0]


def compare(
    frames: pd.DataFrame,
    trials: pd.DataFrame,
    decoded_frames: Mapping[str, int],
    failures: Mapping[str, str],
    *,
    policy: str,
    tolerance: int,
    stride: int,
) -> tuple[list[dict[str, object]], list[Dropped]]:
    """Compares each trial's rows with its video's decoded frames.

    Args:
        frames: frame table.
        trials: trial table.
        decoded_frames: by video.
        failures: why a video could not be decoded, by video.
        policy: `index.mismatch`.
        tolerance: `index.tolerance`, in rows.
        stride: `extract.stride`.

    Returns:
        Rows of the mismatch report, and the labelled frames that are left out.

    Raises:
        UserError: under the policy `error`, naming the trial.
    """
    report: list[dict[str, object]] = []
    dropped: list[Dropped] = []
    labelled = {str(trial): group.to_numpy() for trial, group in frames.groupby("trial", observed=True)["frame_index"]}
    for trial in trials.to_dict("records"):
        name, split, video = str(trial["trial"]), str(trial["split"]), str(trial["video"])
        indices = labelled.get(name, np.empty(0, dtype=np.int64))
        if video not in decoded_frames:
            lost = Dropped(
                trial=name,
                split=split,
                reason=Drop.VIDEO_UNREADABLE,
                frames=len(indices),
                detail=failures[video],
            )
            dropped.append(lost)
            continue
        rows, decoded = int(trial["rows"]), decoded_frames[video]
        judged = judge_counts(rows, decoded, policy=policy, tolerance=tolerance)
        detail = f"{rows} annotation rows, {decoded} decoded frames"
        if judged.action == "error":
            raise UserError(f"index.mismatch is error and {name} disagrees: {detail}; trim or skip would go on")
        found = {"decoded_frames": decoded, "decoded_difference": rows - decoded, "action": judged.action}
        report.append({str(column): value for column, value in trial.items()} | found)
        for reason, (count, said) in _lost(judged, indices, decoded, stride, detail).items():
            dropped.append(Dropped(trial=name, split=split, reason=reason, frames=count, detail=said))
    return report, dropped


def _lost(
    judged: Agreement, indices: NDArray[np.int64], decoded: int, stride: int, detail: str
) -> dict[Drop, tuple[int, str]]:
    """How many of a trial's labelled frames are left out, and what is said of them, by reason."""
    if judged.reason is not None:
        return {judged.reason: (len(indices), detail)}
    within = indices[indices < decoded]
    counts = {
        Drop.BEYOND_VIDEO: (len(indices) - len(within), detail),
        Drop.NOT_SAMPLED: (len(within) - len(sampled(within, stride)), ""),
    }
    return {reason: lost for reason, lost in counts.items() if lost[0]}


def usable(frames: pd.DataFrame, report: pd.DataFrame, *, stride: int) -> pd.DataFrame:
    """The rows of the frame table whose picture was stored: kept trials, sampled frames that the video has."""
    kept = report[report["action"] != "skipped"].set_index("trial")["decoded_frames"]
    trials = frames["trial"].astype("category").cat
    decoded = kept.reindex(trials.categories, fill_value=0).to_numpy()[trials.codes]
    return frames[(frames["frame_index"] < decoded) & (frames["frame_index"] % stride == 0)]
