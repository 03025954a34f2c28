"""Decoupling (Malach and Shalev-Shwartz 2017): two networks that learn only where they disagree."""

from typing import ClassVar, Self

import torch

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting, cross_entropies, full_precision, sample_weights
from train.outputs import Outputs

LEAST_SHARE = 0.1
"""The sum over U is divided by at least this share of the batch, so that few disagreements make small steps."""


class Decoupling(Method):
    """U = {argmax z_1 ≠ argmax z_2}; L_k = Σ_U CE_k / max(0.1 B, |U|), L = L_1 + L_2. Without disagreement L is 0.

    During `warmup` epochs (the paper: 0) U is the whole batch. With class weights w, counts become sums of w_y.
    """

    networks: ClassVar[int | None] = 2

    def __init__(self, *, warmup: int) -> None:
        super().__init__()
        self.warmup = warmup

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(warmup=params.warmup)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; the mask of U carries no gradient."""
        logits_2bc = full_precision(outputs.logits_kbc)
        predicted_2b = logits_2bc.argmax(-1)
        used_b = predicted_2b[0] != predicted_2b[1]
        if given.epoch < self.warmup:
            used_b = torch.ones_like(used_b)
        losses_2b = cross_entropies(logits_2bc, given.labels_b)
        weights_b = sample_weights(given, losses_2b)
        weight = torch.maximum(LEAST_SHARE * weights_b.sum(), (weights_b * used_b).sum())
        total = (losses_2b * weights_b * used_b).sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny)
        details = {"selected": used_b.to(total.dtype).mean()}
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()), details=details)
