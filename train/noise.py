"""Label noise for controlled studies: a pure function of (seed, unit, label). No random state, no order.

People mislabel stretches of video, not single frames: what flips as one is a choice.
"""

import hashlib
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import UserError

NoiseKind = Literal["none", "symmetric", "pair", "confusion", "list", "listed"]
NoiseUnit = Literal["frame", "segment", "video"]

_UNIT = ["trial", "start", "label"]


def noisy_labels(
    samples: pd.DataFrame,
    *,
    kind: NoiseKind,
    rate: float,
    unit: NoiseUnit,
    seed: int,
    classes: int,
    matrix_cc: NDArray[np.float64] | None = None,
    listed: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Labels with noise, one a row of `samples`, in its order.

    Each unit flips with probability `rate`, all its samples to one class: `symmetric` to any of the C - 1
    others alike, `pair` to the next, (y + 1) mod C. `confusion` draws a unit's label from the row of its true class,
    which may be that class. `list` takes the labels as they are listed. A unit is

    - `frame`: one sample;
    - `segment`: a run of one label among the trial's samples in the order of their frames, however far apart;
    - `video`: the samples of one trial and one class.

    The draw is a digest of the seed, the unit and its label: it does not depend on the order of the rows nor,
    for frames and videos, on which other samples there are. A segment is known by its first frame: it draws
    anew where that sample is left out, or where samples that split or join runs come or go. At a higher rate
    the same units flip, to the same classes, and more.

    Args:
        samples: has the columns `trial`, `frame_index` and `label`; not changed.
        kind: which class a flipped label becomes.
        rate: probability of a flip, in [0, 1]; the share of samples strays from it as units differ in size.
        unit: what flips as one.
        seed: another seed is another draw.
        classes: C >= 2; labels are in [0, C).
        matrix_cc: of `confusion`: row the true class, column the probability of each label; rows sum to 1.
        listed: of `list`: a label a row, or -1 where the true one stays.

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
    if kind == "list":
        assert listed is not None
        return np.where(listed >= 0, listed, labels)
    trials = samples["trial"].to_numpy()
    rows = pd.DataFrame({"trial": trials, "start": _starts(samples, unit), "label": labels})
    units = rows.drop_duplicates(_UNIT)
    flips, targets = _draws(units, unit, seed).T
    if kind == "confusion":
        assert matrix_cc is not None
        drawn = _drawn_from(matrix_cc[units["label"].to_numpy()], flips)
    else:
        steps = 1 + np.floor(targets * (classes - 1)).astype(np.int64) if kind == "symmetric" else 1
        drawn = (units["label"].to_numpy() + np.where(flips < rate, steps, 0)) % classes
    return drawn[rows.groupby(_UNIT, sort=False).ngroup().to_numpy()]


def _drawn_from(rows_uc: NDArray[np.float64], draws_u: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class whose stretch of each row's cumulated probabilities a draw falls into; never one of probability 0."""
    ends_uc = rows_uc.cumsum(1)
    ends_uc /= ends_uc[:, -1:]
    classes_u: NDArray[np.int64] = (ends_uc <= draws_u[:, None]).sum(1)
    return classes_u


def listed_labels(listed: "pd.Series[int]", classes: int) -> NDArray[np.int64]:
    """The labels of a set's own noise list, one a sample, as the shards carry them (`index.noise_list`).

    Raises:
        UserError: if a sample has none.
    """
    labels = listed.to_numpy().astype(np.int64)
    if ((labels < 0) | (labels >= classes)).any():
        raise UserError("noise_kind is listed but the shards hold no noise list; set index.noise_list, run `dvc repro`")
    return labels


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
    rows = zip(*(units[column].tolist() for column in _UNIT), strict=True)
    names = (f"{seed}/{unit}/{start}/{label}/{trial}" for trial, start, label in rows)
    digests = [hashlib.sha256(name.encode()).digest()[:16] for name in names]
    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
