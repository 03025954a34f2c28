"""A second opinion on labels, by other people's published rules on the same probabilities. Pure.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels")
and the scores of Kuan and Mueller 2022, "Model-agnostic label quality scoring to detect real-world label errors". They
are what the program cleanlab computes, written from the papers and compared with it in the tests (docs/decisions/080).
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]

_LEAST = 1e-6
"""Below it a confidence or an entropy is taken to be this."""


def self_confidence(probabilities_nc: Probabilities, labels: NDArray[np.int64]) -> Probabilities:
    """The probability of the given label; low is suspect, as with all scores here."""
    own_n: Probabilities = probabilities_nc[np.arange(len(labels)), labels]
    return own_n


def normalized_margin(probabilities_nc: Probabilities, labels: NDArray[np.int64]) -> Probabilities:
    """The label's probability minus the largest of another class, moved to [0, 1]."""
    others_nc = probabilities_nc.copy()
    others_nc[np.arange(len(labels)), labels] = -np.inf
    margin_n: Probabilities = (self_confidence(probabilities_nc, labels) - others_nc.max(1) + 1) / 2
    return margin_n


def confidence_weighted_entropy(probabilities_nc: Probabilities, labels: NDArray[np.int64]) -> Probabilities:
    """Entropy over the label's probability, x, as log(1 + x) / x, so that low is suspect here too; in (0, 1]."""
    clipped_nc = probabilities_nc.clip(_LEAST)
    entropy_n = -(probabilities_nc * np.log(clipped_nc)).sum(1) / np.log(probabilities_nc.shape[1])
    weighted_n = (entropy_n / self_confidence(probabilities_nc, labels).clip(_LEAST)).clip(_LEAST)
    score_n: Probabilities = np.log1p(weighted_n) / weighted_n
    return score_n


SCORES = {
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}
"""By the name that cleanlab gives them."""


def confidently_wrong(probabilities_nc: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Samples off the diagonal of the confident joint: the most probable confident class is not the label.

    A sample is confidently of a class if its probability reaches the mean of that class's probability over the samples
    with that label. One that is confidently of no class, or whose most probable class is the label, is not named.
    """
    rows = np.arange(len(labels))
    counts_c = np.bincount(labels, minlength=probabilities_nc.shape[1])
    sums_c = np.bincount(labels, weights=probabilities_nc[rows, labels], minlength=probabilities_nc.shape[1])
    thresholds_c = np.where(counts_c > 0, sums_c / np.maximum(counts_c, 1), np.inf)
    reached_nc = probabilities_nc >= thresholds_c - _LEAST
    class_n = np.where(reached_nc, probabilities_nc, -1.0).argmax(1)
    wrong_n: NDArray[np.bool_] = reached_nc.any(1) & (class_n != labels) & (probabilities_nc.argmax(1) != labels)
    return wrong_n
