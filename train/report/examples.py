"""Pictures of what was left out: the frames where they still lie on this machine, else faces kept of the trial."""

import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline import tables
from pipeline.contract import Drop, Paths, escape
from pipeline.images import decode_jpeg, encode_jpeg, shrink
from train.report.pictures import Face, faces_of

_MOST, _SIDE, _QUALITY = 6, 200, 75
_OF_FRAMES = (Drop.NO_FACE, Drop.SUBJECT_NOT_FOUND)
"""Reasons for which the frame itself was stored."""

_FRAMES = {"trial": "string", "video": "string", "frame_index": "int64"}


@dataclass(frozen=True, kw_only=True)
class LostFrame:
    """A frame that did not become a sample, small."""

    trial: str
    frame_index: int
    jpeg: bytes


def kept_faces(drops: pd.DataFrame, samples: pd.DataFrame, reasons: Iterable[str]) -> dict[str, list[Face]]:
    """By reason, a face that was kept of each of the trials that lost most for it."""
    shown = samples[samples["split"].isin(("train", "val"))].drop_duplicates("trial")
    first = shown.set_index(shown["trial"].astype(str))
    found = {}
    for reason in reasons:
        ranked = [trial for trial in _trials(drops, reason) if trial in first.index][:_MOST]
        if ranked:
            found[reason] = faces_of(first.loc[ranked])
    return found


def lost_frames(paths: Paths, drops: pd.DataFrame) -> dict[str, list[LostFrame]]:
    """By reason, a frame of each of the trials that lost most for it; nothing where the frames are not on this machine.

    A trial that lost frames both for want of any face and for want of the right one is left out: the tables do not say
    which frame was which.
    """
    if not (paths.frames.is_dir() and paths.landmarks.exists() and paths.index.exists()):
        return {}
    aligned = drops[drops["stage"] == "align"]
    single = aligned.groupby("trial")["reason"].transform("nunique") == 1
    wanted = {str(reason): _trials(aligned[single], str(reason))[:_MOST] for reason in _OF_FRAMES}
    trials = {trial for each in wanted.values() for trial in each}
    if not trials:
        return {}
    labelled, seen = (_frames(path, trials) for path in (paths.index, paths.landmarks))
    found = {}
    for reason, names in wanted.items():
        frames = [_lost(paths.frames, trial, labelled, seen) for trial in names]
        if shown := [frame for frame in frames if frame is not None]:
            found[reason] = shown
    return found


def _trials(drops: pd.DataFrame, reason: str) -> list[str]:
    rows = drops[drops["reason"] == reason].sort_values(["frames", "trial"], ascending=[False, True])
    return [str(trial) for trial in rows["trial"].unique()]


def _frames(path: Path, trials: set[str]) -> Mapping[str, pd.DataFrame]:
    table = tables.read_table(path, _FRAMES)
    return {str(trial): rows for trial, rows in table[table["trial"].isin(trials)].groupby("trial")}


def _lost(
    folder: Path, trial: str, labelled: Mapping[str, pd.DataFrame], seen: Mapping[str, pd.DataFrame]
) -> LostFrame | None:
    """The middle one of a trial's labelled and stored frames that have no face in the landmark table."""
    if trial not in labelled:
        return None
    path = folder / f"{escape(str(labelled[trial]['video'].iloc[0]))}.tar"
    absent = set(labelled[trial]["frame_index"]) - (set(seen[trial]["frame_index"]) if trial in seen else set())
    try:
        with tarfile.open(path) as archive:
            stored = {int(member.name.removesuffix(".jpg")): member for member in archive.getmembers()}
            candidates = sorted(absent & set(stored))
            if not candidates:
                return None
            frame_index = int(candidates[len(candidates) // 2])
            stream = archive.extractfile(stored[frame_index])
            assert stream is not None
            jpeg = encode_jpeg(shrink(decode_jpeg(stream.read()), _SIDE), _QUALITY)
    except (OSError, tarfile.TarError, ValueError):
        return None  # local and re-makeable: a page without this picture is better than none
    return LostFrame(trial=trial, frame_index=frame_index, jpeg=jpeg)
