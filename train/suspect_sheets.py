"""The page of suspect stretches: their faces, the given label, and what the networks say instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.images import encode_jpeg, shrink
from pipeline.shards.reading import ShardReader
from train.pages import data_uri, environment

_SHOWN, _FACES = 60, 6
"""Stretches on the page, the most suspect ones, and most faces of each; the table has them all."""

_SIDE, _QUALITY = 96, 80
_OPINIONS = 3


def suspect_page(suspects: pd.DataFrame, reader: ShardReader, classes: Sequence[str], *, stretches: int) -> str:
    """The page as HTML that asks the network for nothing; equal inputs give equal text, some 20 kB a stretch.

    Args:
        suspects: as `audit.suspects` lists them.
        reader: of the training split.
        classes: names in order.
        stretches: how many there are in all.
    """
    shown = suspects.head(_SHOWN)
    positions = _positions(reader.samples, shown)
    items = [
        _item(row, reader, places, classes) for row, places in zip(shown.to_dict("records"), positions, strict=True)
    ]
    return (
        environment()
        .get_template("suspects.html.j2")
        .render(items=items, suspects=len(suspects), faces=int(suspects["samples"].sum()), stretches=stretches)
    )


def _positions(samples: pd.DataFrame, suspects: pd.DataFrame) -> list[list[int]]:
    """Up to `_FACES` positions of each stretch, evenly over its time."""
    own = samples[samples["trial"].isin(set(suspects["trial"]))]
    by_trial = {str(trial): rows.sort_values("frame_index") for trial, rows in own.groupby("trial", observed=True)}
    chosen = []
    for row in suspects.to_dict("records"):
        rows = by_trial[str(row["trial"])]
        begin, end = np.searchsorted(rows["frame_index"].to_numpy(), (row["first_frame"], row["last_frame"] + 1))
        places = np.unique(np.linspace(begin, end - 1, min(_FACES, end - begin)).round().astype(int))
        chosen.append([int(position) for position in rows.index.to_numpy()[places]])
    return chosen


def _item(row: dict[Any, Any], reader: ShardReader, positions: list[int], classes: Sequence[str]) -> dict[str, Any]:
    ranked = sorted(classes, key=lambda name: -float(row[name]))[:_OPINIONS]
    return {str(name): value for name, value in row.items()} | {
        "pictures": [
            {
                "address": data_uri(encode_jpeg(shrink(reader.picture(position), _SIDE), _QUALITY)),
                "frame": int(reader.samples["frame_index"].iloc[position]),
            }
            for position in positions
        ],
        "opinions": [{"name": name, "share": float(row[name])} for name in ranked],
        "course": None if np.isnan(row["course"]) else float(row["course"]),
    }
