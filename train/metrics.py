"""Confusion to accuracy, F1 and score; bootstrap over videos; calibration; agreement. Pure, numpy alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Confusion = NDArray[np.int64]
"""C x C counts: the row is the actual class, the column the predicted one. More axes may precede."""

Floats = NDArray[np.float64]
Interval = tuple[float, float]

F1_SHARE, ACCURACY_SHARE = 0.67, 0.33
"""The challenge's score (Eq. 7)."""

_CELLS = 1 << 22
"""Numbers in one block of the bootstrap: 32 MB."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Numbers of one confusion matrix, all in [0, 1].

    Attributes:
        f1: macro-F1 over the classes present in labels or predictions, as scikit-learn's
            `f1_score(y, p, average="macro")` without `labels=`.
        accuracy: share of right predictions.
        score: 0.67 · f1 + 0.33 · accuracy (Eq. 7).
        f1_per_class: C values; 0 for a class present in neither, which `f1` leaves out of its mean.
    """

    f1: float
    accuracy: float
    score: float
    f1_per_class: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """(low, high) of the bootstrap's percentile interval."""

    f1: Interval
    accuracy: Interval
    score: Interval


def confusion(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Confusion:
    """Counts of (actual, predicted) pairs, C x C.

    Raises:
        ValueError: if labels and predictions are not whole numbers in [0, classes), one of each a sample.
    """
    actual, predicted = _pairs(labels, predictions, classes)
    return _confusions(actual, predicted, np.zeros_like(actual), 1, classes).reshape(classes, classes)


def scores(confusion: Confusion) -> Scores:
    """F1, accuracy and score of a confusion matrix. Raises ValueError if it is not square or is empty."""
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, got shape {matrix.shape}")
    if matrix.sum() == 0:
        raise ValueError("no samples to score")
    f1, accuracy, score = (float(value) for value in _summary(matrix))
    per_class, _ = _f1_per_class(matrix)
    return Scores(f1=f1, accuracy=accuracy, score=score, f1_per_class=tuple(per_class.tolist()))


def batch_averaged_f1(labels: ArrayLike, predictions: ArrayLike, *, batch: int) -> float:
    """The original code's F1: the mean of the macro-F1 of consecutive batches, in the given order.

    For comparison with published numbers only: it depends on the order and on the batch size. A batch weighs by its
    samples, as in that code.

    Raises:
        ValueError: as `confusion`; also without samples, or if `batch` is below 1.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    actual, predicted = _pairs(labels, predictions, None)
    _need_samples(actual)
    batches = np.arange(len(actual)) // batch
    classes = int(max(actual.max(), predicted.max())) + 1
    f1, _, _ = _summary(_confusions(actual, predicted, batches, int(batches[-1]) + 1, classes))
    return float(np.average(f1, weights=np.bincount(batches)))


def bootstrap_interval(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    *,
    classes: int,
    resamples: int,
    level: float,
    seed: int,
) -> Intervals:
    """Percentile intervals when whole groups (videos) are drawn with replacement, as many as there are.

    Frames of one video are not independent: resampling frames would give intervals that are far too narrow.
    With one group every resample is the same, and the interval has no width. As in `Scores`, a class that a
    resample lacks altogether is left out of that resample's mean.

    Args:
        labels: actual classes, one a sample.
        predictions: predicted classes, one a sample.
        groups: the video of each sample: names or numbers.
        classes: C.
        resamples: how many sets of videos are drawn.
        level: coverage, for example 0.95.
        seed: of the draws; equal arguments give equal intervals, whatever the order of the samples.

    Raises:
        ValueError: as `confusion`; also without samples, or if groups, resamples or level do not fit.
    """
    actual, predicted = _pairs(labels, predictions, classes)
    _need_samples(actual)
    names = np.asarray(groups)
    if names.shape != actual.shape:
        raise ValueError(f"groups must name one video a sample: {actual.shape} samples, groups {names.shape}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be at least 1 and level in (0, 1), got {resamples} and {level:g}")
    videos, video_of = np.unique(names, return_inverse=True)
    per_video = _confusions(actual, predicted, video_of, len(videos), classes).reshape(len(videos), -1)
    blocks = [
        _summary((counts @ per_video.astype(np.float64)).reshape(-1, classes, classes))
        for counts in _draws(len(videos), resamples, seed, width=len(videos) + classes**2)
    ]
    values = np.concatenate([np.stack(block) for block in blocks], axis=1)
    tail = (1 - level) / 2
    lows, highs = np.quantile(values, [tail, 1 - tail], axis=1).tolist()
    f1, accuracy, score = zip(lows, highs, strict=True)
    return Intervals(f1=f1, accuracy=accuracy, score=score)


def expected_calibration_error(probabilities_bc: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence (Guo et al. 2017, Eq. 3).

    Confidence is the largest probability; bins are open below and closed above, weighted by their samples.

    Raises:
        ValueError: if the probabilities are not B x C numbers in [0, 1], or the labels do not fit them.
    """
    probabilities = np.asarray(probabilities_bc, dtype=np.float64)
    if probabilities.ndim != 2 or not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise ValueError(f"probabilities must be B x C numbers in [0, 1], got shape {probabilities.shape}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    _need_samples(probabilities)
    actual, predicted = _pairs(labels, probabilities.argmax(1), probabilities.shape[1])
    confidence = probabilities.max(1)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=(actual == predicted) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def agreement(predictions_kb: ArrayLike) -> tuple[float, ...]:
    """How far K networks agree: the shares of samples whose largest agreeing group has 1, 2, … K networks.

    Raises:
        ValueError: unless there are K >= 1 rows of B >= 1 predictions.
    """
    predictions = np.asarray(predictions_kb)
    if predictions.ndim != 2 or 0 in predictions.shape:
        raise ValueError(f"predictions must be K networks x B samples, got shape {predictions.shape}")
    largest = np.max([(predictions == network).sum(0) for network in predictions], axis=0)
    counts = np.bincount(largest, minlength=len(predictions) + 1)[1:]
    return tuple((counts / predictions.shape[1]).tolist())


def _summary(matrices: NDArray[np.number]) -> tuple[Floats, Floats, Floats]:
    """Macro-F1, accuracy and score of each matrix, over the leading axes."""
    per_class, present = _f1_per_class(matrices)
    f1 = per_class.sum(-1) / present.sum(-1)
    accuracy = np.trace(matrices, axis1=-2, axis2=-1) / matrices.sum((-2, -1))
    return f1, accuracy, F1_SHARE * f1 + ACCURACY_SHARE * accuracy


def _f1_per_class(matrices: NDArray[np.number]) -> tuple[Floats, NDArray[np.bool_]]:
    """F1 of each class, 0 where it is absent, and whether it is present: 2 TP / (2 TP + FP + FN) (Eq. 6)."""
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    marked = matrices.sum(-1) + matrices.sum(-2)
    return 2 * right / np.maximum(marked, 1), marked > 0


def _confusions(
    actual: NDArray[np.int64],
    predicted: NDArray[np.int64],
    group_of: NDArray[np.int64],
    groups: int,
    classes: int,
) -> Confusion:
    """One confusion matrix a group, G x C x C."""
    cells = (group_of * classes + actual) * classes + predicted
    return np.bincount(cells, minlength=groups * classes**2).reshape(groups, classes, classes)


def _draws(groups: int, resamples: int, seed: int, *, width: int) -> Iterator[NDArray[np.int64]]:
    """How often each group is drawn, R x G, in blocks of bounded size."""
    generator = np.random.default_rng(seed)
    shares = np.full(groups, 1 / groups)
    step = max(1, _CELLS // width)
    for start in range(0, resamples, step):
        yield generator.multinomial(groups, shares, size=min(step, resamples - start))


def _pairs(
    labels: ArrayLike, predictions: ArrayLike, classes: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    actual, predicted = np.asarray(labels), np.asarray(predictions)
    if actual.ndim != 1 or actual.shape != predicted.shape:
        raise ValueError(f"labels and predictions must be 1-d, as many: {actual.shape}, {predicted.shape}")
    for name, values in (("labels", actual), ("predictions", predicted)):
        if len(values) and values.dtype.kind not in "iu":
            raise ValueError(f"{name} must be whole numbers, got {values.dtype}")
        if len(values) and (values.min() < 0 or (classes is not None and values.max() >= classes)):
            limit = "" if classes is None else f" and below {classes}"
            raise ValueError(f"{name} must be at least 0{limit}, got {values.min()} to {values.max()}")
    return actual.astype(np.int64, copy=False), predicted.astype(np.int64, copy=False)


def _need_samples(values: NDArray[np.generic]) -> None:
    if len(values) == 0:
        raise ValueError("no samples to score")
