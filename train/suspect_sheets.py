"""The page of suspect stretches: their faces, the given label, and what the networks say instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.images import encode_jpeg, shrink
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed, visited
from train.pages import data_uri, environment

_SHOWN, _FACES = 60, 6
"""Stretches on the page, the most suspect ones, and most faces of each; the table has them all."""

_SIDE, _QUALITY = 96, 80
_OPINIONS = 3


def suspect_page(
    suspects: pd.DataFrame, reader: ShardReader, classes: Sequence[str], *, stretches: int, feed: Feed | None = None
) -> str:
    """The page as HTML that asks the network for nothing; equal inputs give equal text, some 20 kB a stretch.

    Args:
        suspects: as `audit.suspects` lists them.
        reader: of the training split.
        classes: names in order.
        stretches: how many there are in all.
        feed: what brings the shards, if they are streamed.
    """
    shown = suspects.head(_SHOWN)
    positions = _positions(reader.samples, shown)
    stored = sorted({position for places in positions for position in places})
    pictures = {position: _picture(reader, position) for position in visited(reader, stored, feed)}
    items = [
        _item(row, [pictures[position] for position in places], classes)
        for row, places in zip(shown.to_dict("records"), positions, strict=True)
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


def _picture(reader: ShardReader, position: int) -> dict[str, Any]:
    jpeg = encode_jpeg(shrink(reader.picture(position), _SIDE), _QUALITY)
    return {"address": data_uri(jpeg), "frame": int(reader.samples["frame_index"].iloc[position])}


def _item(row: dict[Any, Any], pictures: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    ranked = sorted(classes, key=lambda name: -float(row[name]))[:_OPINIONS]
    return {str(name): value for name, value in row.items()} | {
        "pictures": pictures,
        "opinions": [{"name": name, "share": float(row[name])} for name in ranked],
        "course": None if np.isnan(row["course"]) else float(row["course"]),
    }
