"""Counts of samples a split, class, video and shard, as the balance report and the plots that DVC draws."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from pipeline import balance


class Plot(NamedTuple):
    """Rows of a CSV and their columns."""

    rows: list[dict[str, object]]
    columns: dict[str, str]


def balance_report(samples: pd.DataFrame, classes: Sequence[str], *, effective_beta: float) -> dict[str, object]:
    """The measures of `balance.summary` for every split of a sample table, and its numbers of videos and shards."""
    report: dict[str, object] = {}
    for split, group in samples.groupby("split", sort=True, observed=True):
        counts = class_counts(group, len(classes))
        report[str(split)] = balance.summary(counts, classes, effective_beta=effective_beta) | {
            "videos": int(group["video"].nunique()),
            "shards": int(group["shard"].nunique()),
        }
    return report


def balance_plots(samples: pd.DataFrame, classes: Sequence[str]) -> dict[str, Plot]:
    """Tables by name: class counts a split, a video and a shard."""
    return {
        "class_balance": _counts_by(samples, ["split"], classes),
        "video_balance": _counts_by(samples, ["split", "video"], classes),
        "shard_balance": _counts_by(samples, ["split", "shard"], classes),
    }


def class_counts(samples: pd.DataFrame, classes: int) -> list[int]:
    """Samples a class."""
    counts = samples["label"].value_counts()
    return [int(counts.get(label, 0)) for label in range(classes)]


def _counts_by(samples: pd.DataFrame, keys: list[str], classes: Sequence[str]) -> Plot:
    rows: list[dict[str, object]] = []
    for values, group in samples.groupby(keys, sort=True, observed=True):
        place = dict(zip(keys, values, strict=True))
        for name, count in zip(classes, class_counts(group, len(classes)), strict=True):
            rows.append({**place, "class": name, "samples": count})
    return Plot(rows, dict.fromkeys([*keys, "class"], "string") | {"samples": "int64"})
