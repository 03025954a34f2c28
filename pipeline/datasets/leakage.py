"""One video in several splits, by name or by content: what was trained on must not be evaluated on."""

from collections.abc import Callable, Sequence
from dataclasses import replace

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
