"""Choosing samples by their loss: the small-loss rule that Co-teaching and its kin share."""

import math

import torch
from torch import Tensor

from pipeline.train_params import TrainParams
from train.methods.base import Given, sample_weights, weighted_mean


def forget_rate(epoch: int, *, rate: float, epochs: float) -> float:
    """r(e): rises linearly from 0 to τ over T_k epochs, then stays (Han et al. 2018, Algorithm 1).

    Args:
        epoch: e, from 0.
        rate: τ, in [0, 1].
        epochs: T_k; with 0 it is τ from the start.
    """
    return rate * min(epoch / epochs, 1.0) if epochs else rate


def asked_rate(params: TrainParams) -> float:
    """τ: `forget_rate`, or the rate of the label noise where it is null; says so if that leaves nothing to forget."""
    rate = params.noise_rate if params.forget_rate is None else params.forget_rate
    if rate == 0 and params.forget_rate is None:
        print(
            f"train: method {params.method} learns from all samples, because forget_rate is null and noise_rate is 0; "
            "set forget_rate to the share of wrong labels that you expect",
            flush=True,
        )
    return rate


def smallest(losses_b: Tensor, rate: float, among_b: Tensor | None = None) -> Tensor:
    """A mask of the ⌊(1 - r) n⌋ smallest of n losses, B; of equal ones the first.

    Args:
        losses_b: one a sample; no gradient flows.
        rate: r, in [0, 1].
        among_b: only these n samples count; None: all.
    """
    losses_b = losses_b.detach()
    among_b = torch.ones_like(losses_b, dtype=torch.bool) if among_b is None else among_b
    count = math.floor((1 - rate) * int(among_b.sum()) + 1e-9)  # (1 - 0.9) * 10 is less than 1 in floating point
    order = losses_b.masked_fill(~among_b, torch.inf).argsort(stable=True)
    chosen = torch.zeros_like(among_b)
    chosen[order[:count]] = True
    return chosen


def taught_by_peer(
    losses_2b: Tensor, given: Given, rate: float, among_b: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Each network's mean loss over the samples that are easy for the other one, summed; and the share of samples used.

    The mean is by class weights where there are any; what is easy does not depend on them.
    """
    easy_2b = torch.stack([smallest(losses_b, rate, among_b) for losses_b in losses_2b])
    weights_2b = sample_weights(given, losses_2b) * easy_2b.flip(0)
    return weighted_mean(losses_2b, weights_2b).sum(), easy_2b.to(losses_2b.dtype).mean()
