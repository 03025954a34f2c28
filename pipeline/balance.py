"""How unevenly samples fall into classes, and weights that make up for it. Pure."""

import math
from collections.abc import Sequence


def imbalance_ratio(counts: Sequence[int]) -> float | None:
    """Largest over smallest class count, among the classes that occur; None if there is no sample."""
    present = [count for count in counts if count > 0]
    return max(present) / min(present) if present else None


def normalised_entropy(counts: Sequence[int]) -> float | None:
    """Shannon entropy of the class shares over its maximum, ln C: 1 is balanced, 0 a single class; None if empty."""
    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return None
    shares = [count / total for count in counts if count > 0]
    return max(0.0, -math.fsum(share * math.log(share) for share in shares) / math.log(len(counts)))


def effective_numbers(counts: Sequence[int], beta: float) -> list[float]:
    """Effective number of samples a class, (1 − βⁿ)/(1 − β) (Cui et al., CVPR 2019, Eq. 2).

    Args:
        counts: samples a class.
        beta: in [0, 1); near 1 each sample counts, at 0 every class that occurs counts once.
    """
    return [(1 - beta**count) / (1 - beta) for count in counts]


def class_weights(counts: Sequence[float]) -> list[float]:
    """Inverse-frequency weights N / (C' n_c) over the C' classes that occur; 0 for a class without samples.

    Equal to scikit-learn's "balanced" class weights; the sample-weighted mean is 1.
    """
    total, present = sum(counts), sum(count > 0 for count in counts)
    return [total / (present * count) if count else 0.0 for count in counts]


def summary(counts: Sequence[int], names: Sequence[str], *, effective_beta: float) -> dict[str, object]:
    """All measures of one split by class name, rounded to six digits: a block of `results/balance.json`."""
    ratio, entropy = imbalance_ratio(counts), normalised_entropy(counts)
    return {
        "samples": sum(counts),
        "counts": dict(zip(names, map(int, counts), strict=True)),
        "imbalance_ratio": ratio and round(ratio, 6),
        "normalised_entropy": entropy if entropy is None else round(entropy, 6),
        "effective_numbers": _named(names, effective_numbers(counts, effective_beta)),
        "class_weights": _named(names, class_weights(counts)),
    }


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in zip(names, values, strict=True)}
