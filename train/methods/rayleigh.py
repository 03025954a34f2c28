"""Rayleigh loss and weighted softmax (Fan et al. 2020), an UNOFFICIAL reading: no public formula."""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from pipeline.train_params import TrainParams
from train.methods.base import (
    Given,
    Losses,
    Method,
    Setting,
    cross_entropies,
    full_precision,
    sample_weights,
    weighted_mean,
)
from train.outputs import Needs, Outputs

_EPSILON = 1e-6


class Rayleigh(Method):
    """L = Σ w CE / Σ w + weight · Σ ‖x - c_y‖² / (Σ Σ_{j≠y} ‖x - c_j‖² + ε), sums over the batch.

    x are the features, c_j a trained centre a class, w = exp(-d² / mean d²) with d = ‖x - c_y‖, no gradient through w.
    What is known is a ratio of within-class to between-class distances to centres, and a softmax loss weighted by the
    distance to the class's centre, without formulas: both are written as we read them, and the weight (0.1) is ours.
    """

    networks: ClassVar[int | None] = 1
    needs = Needs(features=True)

    def __init__(self, *, weight: float, seed: int, setting: Setting) -> None:
        super().__init__()
        self.weight = weight
        generator = torch.Generator().manual_seed(seed)
        self.centres_cd = nn.Parameter(torch.randn(setting.classes, setting.features, generator=generator))

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(weight=params.rayleigh.weight, seed=params.seed, setting=setting)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; `consistency` is the ratio of distances."""
        assert outputs.features_kbd is not None
        squares_bc = self._squared_distances(full_precision(outputs.features_kbd)[0])
        within_b = squares_bc.gather(1, given.labels_b[:, None])[:, 0]
        between_b = squares_bc.sum(1) - within_b
        ratio = within_b.sum() / (between_b.sum() + _EPSILON)
        away_b = within_b.detach()
        sureness_b = torch.exp(-away_b / away_b.mean().clamp_min(_EPSILON))
        losses_b = cross_entropies(full_precision(outputs.logits_kbc), given.labels_b)[0]
        supervised = weighted_mean(losses_b, sureness_b * sample_weights(given, losses_b))
        return Losses(total=supervised + self.weight * ratio, supervision=supervised, consistency=ratio)

    def _squared_distances(self, features_bd: Tensor) -> Tensor:
        """Of every sample to every centre, B x C, from differences: expanding the square would cancel digits."""
        return (features_bd[:, None] - self.centres_cd.to(features_bd)).square().sum(-1)
