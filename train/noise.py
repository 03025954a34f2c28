"""Label noise for controlled studies: a pure function of (seed, unit, label). No random state, no order.

People mislabel stretches of video, not single frames, so the unit that flips as one is a choice (docs: noise_unit).
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NoiseKind = Literal["none", "symmetric", "pair"]
NoiseUnit = Literal["frame", "segment", "video"]

_UNIT = ["trial", "start", "label"]


def noisy_labels(
    samples: pd.DataFrame, *, kind: NoiseKind, rate: float, unit: NoiseUnit, seed: int, classes: int
) -> NDArray[np.int64]:
    """Labels with noise, one a row of `samples`, in its order.

    Each unit flips with probability `rate`, all its samples to the same class: `symmetric` to any of the other C − 1
    alike, `pair` to the next one, (y + 1) mod C. A unit is

    - `frame`: one sample;
    - `segment`: a run of one label among the trial's samples in the order of their frames, however far apart;
    - `video`: the samples of one trial and one class.

    The draw is a digest of the seed, the unit and its label, so it depends neither on the order of the rows nor, for
    frames and videos, on which other samples there are. A segment is known by its first frame: it keeps its draw as
    long as that sample stays and no sample between its own appears or vanishes that splits or joins runs. At a higher
    rate the same units flip, to the same classes, and more.

    Args:
        samples: has the columns `trial`, `frame_index` and `label`; not changed.
        kind: which class a flipped label becomes.
        rate: share of units that flip, in [0, 1]. The share of samples follows it only as far as units are alike.
        unit: what flips as one.
        seed: another seed is another draw.
        classes: C >= 2; labels are in [0, C).

    Raises:
        ValueError: if rate, classes or a label is out of range.
    """
    labels = samples["label"].to_numpy(dtype=np.int64, copy=True)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate:g}")
    if classes < 2 or ((labels < 0) | (labels >= classes)).any():
        raise ValueError(f"labels must be in [0, {classes}), of at least 2 classes")
    if kind == "none" or len(labels) == 0:
        return labels
    rows = pd.DataFrame({"trial": samples["trial"].to_numpy(), "start": _starts(samples, unit), "label": labels})
    flips, targets = _draws(rows.drop_duplicates(_UNIT), unit, seed).T
    steps = 1 + np.floor(targets * (classes - 1)).astype(np.int64) if kind == "symmetric" else 1
    steps_of_units = np.where(flips < rate, steps, 0)
    unit_of_rows = rows.groupby(_UNIT, sort=False).ngroup().to_numpy()
    return (labels + steps_of_units[unit_of_rows]) % classes


def _starts(samples: pd.DataFrame, unit: NoiseUnit) -> NDArray[np.int64]:
    """The frame that stands for each row's unit: its own, its segment's first, or 0 for a whole video."""
    frames = samples["frame_index"].to_numpy(dtype=np.int64)
    if unit == "frame":
        return frames
    starts = np.zeros_like(frames)
    if unit == "video":
        return starts
    trials = pd.factorize(samples["trial"])[0]
    labels = samples["label"].to_numpy(dtype=np.int64)
    order = np.lexsort((labels, frames, trials))
    changes = (np.diff(trials[order]) != 0) | (np.diff(labels[order]) != 0)
    begins = np.concatenate([[True], changes])
    starts[order] = frames[order][begins][np.cumsum(begins) - 1]
    return starts


def _draws(units: pd.DataFrame, unit: NoiseUnit, seed: int) -> NDArray[np.float64]:
    """Two uniform numbers in [0, 1) a unit, U x 2: whether it flips, and where to."""
    rows: Iterable[tuple[str, int, int]] = zip(
        units["trial"].tolist(), units["start"].tolist(), units["label"].tolist(), strict=True
    )
    digests = [
        hashlib.sha256(f"{seed}/{unit}/{start}/{label}/{trial}".encode()).digest()[:16] for trial, start, label in rows
    ]
    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2)
    return (words >> np.uint64(11)) * 2.0**-53
