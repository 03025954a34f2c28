"""Annotation rows against decoded frames: the stated policy, its report, and the labels that fall away."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import Drop, UserError
from pipeline.datasets.base import Dropped, told


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What decoding a video found.

    `frames` count up to the last one that decodes; `undecodable` are those among them that do not. `expected` is the
    number that the container promises, 0 where it does not say.
    """

    frames: int
    undecodable: tuple[int, ...] = ()
    expected: int = 0


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
    found: Mapping[str, Decoded],
    failures: Mapping[str, tuple[Drop, str]],
    *,
    policy: str,
    tolerance: int,
    stride: int,
) -> tuple[list[dict[str, object]], list[Dropped]]:
    """Compares each trial's rows with its video's decoded frames.

    Args:
        frames: frame table.
        trials: trial table.
        found: what decoding found, by video.
        failures: why a video could not be decoded, typed and in words, by video.
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
        if video not in found:
            reason, detail = failures[video]
            lost = Dropped(trial=name, split=split, reason=reason, frames=len(indices), detail=detail)
            dropped.append(lost)
            continue
        rows, decoded = int(trial["rows"]), found[video]
        judged = judge_counts(rows, decoded.frames, policy=policy, tolerance=tolerance)
        detail = f"{rows} annotation rows, {decoded.frames} decoded frames"
        if judged.action == "error":
            raise UserError(f"index.mismatch is error and {name} disagrees: {detail}; trim or skip would go on")
        report.append({str(column): value for column, value in trial.items()} | _compared(trial, decoded, judged))
        for reason, (count, said) in _lost(judged, indices, decoded, stride, detail).items():
            dropped.append(Dropped(trial=name, split=split, reason=reason, frames=count, detail=said))
    return report, dropped


def _compared(trial: Mapping[Hashable, object], decoded: Decoded, judged: Agreement) -> dict[str, object]:
    """What the report adds to a trial's row."""
    notes = [str(trial["note"]), missing_frames(decoded, declared=int(str(trial["declared_frames"])))]
    return {
        "decoded_frames": decoded.frames,
        "decoded_difference": int(str(trial["rows"])) - decoded.frames,
        "undecodable_frames": " ".join(map(str, decoded.undecodable)),
        "action": judged.action,
        "note": "; ".join(filter(None, notes)),
    }


def missing_frames(decoded: Decoded, *, declared: int) -> str:
    """One line about a video that gives fewer frames than its own container promises, or nothing."""
    said = []
    if decoded.undecodable:
        said.append(f"{len(decoded.undecodable)} of its frames cannot be decoded")
    if decoded.frames < decoded.expected:
        said.append(f"decoding ends after {decoded.frames} of the container's {decoded.expected} frames")
    elif not decoded.expected and decoded.frames < declared:
        said.append(f"{decoded.frames} of {declared} declared frames are shown: cut, or skipped by its edit list")
    return "; ".join(said)


def _lost(
    judged: Agreement, indices: NDArray[np.int64], decoded: Decoded, stride: int, detail: str
) -> dict[Drop, tuple[int, str]]:
    """How many of a trial's labelled frames are left out, and what is said of them, by reason."""
    if judged.reason is not None:
        return {judged.reason: (len(indices), detail)}
    within = indices[(indices < decoded.frames) & ~np.isin(indices, decoded.undecodable)]
    beyond = int(np.count_nonzero(indices >= max(decoded.frames, decoded.expected)))
    counts = {
        Drop.BEYOND_VIDEO: (beyond, detail),
        Drop.FRAME_UNDECODABLE: (len(indices) - len(within) - beyond, missing_frames(decoded, declared=0)),
        Drop.NOT_SAMPLED: (len(within) - len(sampled(within, stride)), ""),
    }
    return {reason: lost for reason, lost in counts.items() if lost[0]}


def usable(frames: pd.DataFrame, report: pd.DataFrame, *, stride: int) -> pd.DataFrame:
    """The rows of the frame table whose picture was stored: kept trials, sampled frames that the video has."""
    kept = report[report["action"] != "skipped"].set_index("trial")["decoded_frames"]
    trials = frames["trial"].astype("category").cat
    decoded = kept.reindex(trials.categories, fill_value=0).to_numpy()[trials.codes]
    used = (frames["frame_index"] < decoded) & (frames["frame_index"] % stride == 0)
    for trial in report[report["undecodable_frames"] != ""].to_dict("records"):
        lost = [int(index) for index in str(trial["undecodable_frames"]).split()]
        used &= (frames["trial"] != trial["trial"]) | ~frames["frame_index"].isin(lost)
    return frames[used]


def unreadable_pictures(trials: pd.DataFrame, unreadable: Mapping[str, Mapping[str, str]]) -> list[Dropped]:
    """Pictures that could not be stored (why, by video and frame index), a line a trial."""
    return [
        Dropped(
            trial=str(trial["trial"]),
            split=str(trial["split"]),
            reason=Drop.PICTURE_UNREADABLE,
            frames=len(reasons),
            detail=told(reasons.values()),
        )
        for trial in trials.to_dict("records")
        if (reasons := unreadable.get(str(trial["video"])))
    ]
