"""One video or picture in several splits, by name or content: what was trained on must not be evaluated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Drop
from pipeline.datasets.base import Dropped, Trial

_PRECEDENCE = ("test", "val", "train")


def keep_one_split(
    trials: Sequence[Trial], *, same: Callable[[Trial], str], reason: Drop
) -> tuple[list[Trial], list[Dropped]]:
    """The evaluation splits keep a video that occurs in several, training loses it, and that is listed.

    Args:
        trials: of any splits.
        same: equal for trials of one video: its name, or a digest of its content.
        reason: why the others are left out.
    """
    keepers: dict[str, Trial] = {}
    for split in _PRECEDENCE:
        for trial in trials:
            if trial.split == split:
                keepers.setdefault(same(trial), trial)
    kept, dropped = [], []
    for trial in trials:
        keeper = keepers[same(trial)]
        if keeper.split == trial.split:
            kept.append(trial)
        else:
            detail = f"{keeper.video} of split {keeper.split} is the same video, and that split keeps it"
            lost = Dropped(trial=trial.name, split=trial.split, reason=reason, frames=trial.labelled, detail=detail)
            dropped.append(lost)
    return kept, dropped


def shared_pictures(
    splits: Sequence[str], digests: Sequence[NDArray[np.uint8]]
) -> Mapping[int, list[tuple[int, int, int]]]:
    """Pictures that an evaluation split has too, by digest.

    Args:
        splits: the split of each of T trials.
        digests: of each trial's pictures, M x 32.

    Returns:
        By trial, the pictures it must lose: (place in it, the trial that keeps the picture, place in that one).
    """
    counts = [len(each) for each in digests]
    if not sum(counts):
        return {}
    trials = np.repeat(np.arange(len(splits)), counts)
    places = np.concatenate([np.arange(count) for count in counts])
    ranks = np.array([_PRECEDENCE.index(split) for split in splits], dtype=np.int64)[trials]
    contents = np.ascontiguousarray(np.concatenate(digests)).view("V32").reshape(-1)
    _, group = np.unique(contents, return_inverse=True)
    order = np.lexsort((places, trials, ranks, group))
    begins = np.concatenate([[True], np.diff(group[order]) != 0])
    keeper = order[begins][np.cumsum(begins) - 1]
    lost: dict[int, list[tuple[int, int, int]]] = {}
    for one, other in zip(order.tolist(), keeper.tolist(), strict=True):
        if ranks[one] != ranks[other]:
            entry = (int(places[one]), int(trials[other]), int(places[other]))
            lost.setdefault(int(trials[one]), []).append(entry)
    return lost


def with_duplicates_noted(trials: Sequence[Trial], *, same: Callable[[Trial], str]) -> list[Trial]:
    """The trials, each whose video occurs under other names with a note that tells them."""
    names: dict[str, set[str]] = {}
    for trial in trials:
        names.setdefault(same(trial), set()).add(trial.video)
    noted = []
    for trial in trials:
        others = sorted(names[same(trial)] - {trial.video})
        note = f"same content as {', '.join(others)}" if others else ""
        noted.append(replace(trial, note="; ".join(filter(None, [trial.note, note]))))
    return noted
