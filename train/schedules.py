"""Epoch to coefficient: the consistency weight λ and the learning rate. Pure; epochs count from 0."""

import math
from typing import Literal

AfterRampUp = Literal["hold", "fall"]

_ORIGINAL_SHARE = 0.9
"""Ramp-up length of the authors' code, as a share of the epochs; the paper names no value."""


def ramp_up(
    epoch: float,
    *,
    beta: float,
    lambda_max: float,
    rampup: float,
    after_rampup: AfterRampUp,
) -> float:
    """The weight λ of the consistency loss: λ_max · exp(-β (1 - e/e_r)²) (CCT, Eq. 4).

    Args:
        epoch: e, from 0; fractions of an epoch are allowed.
        beta: β ≥ 0; the larger, the later λ rises. With 0 it is λ_max from the start.
        lambda_max: λ at the ramp-up epoch, in [0, 1].
        rampup: e_r > 0, the epoch at which λ reaches λ_max.
        after_rampup: `hold` keeps λ_max after e_r; `fall` goes down the far side of the Gaussian.

    Raises:
        ValueError: if `rampup` is not positive.
    """
    if rampup <= 0:
        raise ValueError(f"rampup must be a positive number of epochs, got {rampup!r}")
    progress = epoch / rampup
    if after_rampup == "hold":
        progress = min(progress, 1.0)
    return lambda_max * math.exp(-beta * (1 - progress) ** 2)


def course_after(compat: str, asked: AfterRampUp) -> AfterRampUp:
    """What λ does after the ramp-up epoch: as asked, but in the authors' code it falls."""
    return "fall" if compat == "original" else asked


def ramp_up_epoch(epochs: int, rampup: float | None) -> float:
    """The ramp-up epoch e_r: the one asked for, else 0.9 of all epochs (the authors' code)."""
    return _ORIGINAL_SHARE * epochs if rampup is None else rampup


def learning_rate(initial: float, *, decay: float, epoch: int) -> float:
    """Exponential decay: the initial rate, times `decay` after every epoch (CCT, section 4.2)."""
    return initial * decay**epoch
