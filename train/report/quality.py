"""How good the faces are: what detector and pictures tell of them, by split and class."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.contract import SPLITS
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed, visited
from train.charts import Quantiles, spread_chart

MOST = 8_000
"""Samples of a split that are read; samples are stored shuffled, so that these are drawn at random."""

_BINS = 32
_TAIL = 0.005
"""Share at either end of a measure that is counted into its first or last bin."""

MEASURES = {
    "probability": ("Detector's probability", "probability"),
    "side": ("Size of the face", "side of its box, pixels of the video"),
    "sharpness": ("Sharpness", "variance of the Laplacian"),
    "brightness": ("Brightness", "mean luma, 0 to 255"),
    "yaw": ("Turned to the side (yaw)", "degrees, estimated"),
    "pitch": ("Nodding (pitch)", "degrees, estimated"),
    "roll": ("Tilted (roll)", "degrees, before it was turned upright"),
}
"""Each measure's heading and axis."""


def read_quality(shard_set: Path, splits: tuple[str, ...] = SPLITS, *, feed: Feed | None = None) -> pd.DataFrame:
    """The columns `split`, `label` and MEASURES of up to MOST samples a split, read from the shards.

    NaN is what nobody knows, such as the pose in crops that were taken as they are.
    """
    rows = []
    for split in splits:
        reader = ShardReader(shard_set, split, places=feed.places if feed else None)
        labels = reader.samples["label"].to_numpy(np.int64)
        positions = np.unique(np.linspace(0, len(reader) - 1, min(MOST, len(reader))).astype(np.int64))
        rows += [
            {"split": split, "label": int(labels[position])} | _measured(reader.record(position))
            for position in visited(reader, positions.tolist(), feed)
        ]
    table = pd.DataFrame(rows, columns=["split", "label", *MEASURES])
    return table.astype(dict.fromkeys(MEASURES, "float64"))


def _measured(record: dict[str, Any]) -> dict[str, float | None]:
    x0, y0, x1, y1 = record["box"]
    pose, quality = record["pose"] or {}, record["quality"]
    return {
        "probability": record["probability"],
        "side": float(np.sqrt(max(0.0, (x1 - x0) * (y1 - y0)))),
        "sharpness": quality["sharpness"],
        "brightness": quality["brightness"],
        **{angle: pose.get(angle) for angle in ("yaw", "pitch", "roll")},
    }


def quality_section(quality: pd.DataFrame, samples: int, classes: list[str]) -> dict[str, Any]:
    """Charts of every measure that is known, and how many of the samples were read."""
    charts = []
    for name, (heading, axis) in MEASURES.items():
        known = quality[quality[name].notna()]
        if len(known):
            charts.append({"heading": heading, "chart": _chart(known, name, heading, axis, classes)})
    return {"charts": charts, "read": len(quality), "samples": samples}


def _chart(known: pd.DataFrame, name: str, heading: str, axis: str, classes: list[str]) -> Markup:
    values = known[name].to_numpy(np.float64)
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL]).tolist()
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shares = {
        str(split): _shares(known.loc[known["split"] == split, name].to_numpy(np.float64), edges)
        for split in SPLITS
        if (known["split"] == split).any()
    }
    groups = {each: _quantiles(values[known["label"] == label]) for label, each in enumerate(classes)}
    title = f"{heading}: histogram by split, spread by class"
    return spread_chart(edges.tolist(), shares, groups, title=title, x_label=axis)


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> list[float]:
    counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
    return [float(share) for share in counts / max(1, counts.sum())]


def _quantiles(values: NDArray[np.float64]) -> Quantiles | None:
    if not len(values):
        return None
    p5, p25, p50, p75, p95 = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
    return p5, p25, p50, p75, p95
