"""Noise-resistant collaborative training (Sarfraz et al. 2020): mutual mimicry, and targets that vary on purpose."""

import math
from typing import ClassVar, Self

import torch
from torch import Tensor

from pipeline.method_params import NctParams
from pipeline.train_params import TrainParams
from train.methods.base import (
    Given,
    Losses,
    Method,
    Setting,
    cross_entropies,
    divergence,
    full_precision,
    sample_weights,
    weighted_mean,
)
from train.methods.memory import key_words, uniform_draws
from train.outputs import Outputs
from train.schedules import ramp_up


def variability(epoch: int, *, epochs: int, start: float, most: float, after: int) -> float:
    """ρ(e): `start` up to epoch `after`, then start + (most - start) ln(e - after) / ln(E - after), at most `most`."""
    if epoch <= after:
        return start
    whole = math.log(epochs - after)
    grown = math.log(epoch - after) / whole if whole else 1.0
    return min(most, start + (most - start) * grown)


class NCT(Method):
    """L_1 = (1 - α) CE(z_1, ỹ_1) + α T² KL(softmax(z_2 / T) ‖ softmax(z_1 / T)), L_2 the mirror image; L = L_1 + L_2.

    α(e) = 0.9 exp(-5 (1 - min(e, 20) / 20)²), T = 4. Each network's ỹ is drawn on its own: with probability ρ it is
    (y + U{0..C-1}) mod C, which may be y. The imitated network gets no gradient. The draw is a function of (seed,
    epoch, sample key, network): a sample that is shown twice in an epoch has the same targets both times.
    """

    networks: ClassVar[int | None] = 2
    words_n: Tensor

    def __init__(self, settings: NctParams, *, epochs: int, seed: int, setting: Setting) -> None:
        super().__init__()
        self.settings, self.epochs, self.seed, self.classes = settings, epochs, seed, setting.classes
        self.register_buffer("words_n", key_words(setting.keys), persistent=False)

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(params.nct, epochs=params.epochs, seed=params.seed, setting=setting)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; class weights are those of the given labels, not of the drawn ones."""
        logits_2bc, temperature = full_precision(outputs.logits_kbc), self.settings.temperature
        losses_2b = cross_entropies(logits_2bc, self.targets(given))
        supervised = weighted_mean(losses_2b, sample_weights(given, losses_2b)).sum()
        log_p = (logits_2bc / temperature).log_softmax(-1)
        mimicry = temperature**2 * divergence(log_p.flip(0).detach(), log_p).mean(1).sum()
        weight = self._alpha(given.epoch)
        total = (1 - weight) * supervised + weight * mimicry
        return Losses(total=total, supervision=supervised, consistency=mimicry)

    def targets(self, given: Given) -> Tensor:
        """ỹ of both networks, 2 x B."""
        words_b, rate = self.words_n[given.positions_b], self._variability(given.epoch)
        drawn = [uniform_draws(words_b, self.seed, given.epoch, network, draws=2) for network in range(2)]
        varies_2b, steps_2b = torch.stack(drawn, dim=1)
        steps_2b = (steps_2b * self.classes).floor().long()
        return torch.where(varies_2b < rate, (given.labels_b + steps_2b) % self.classes, given.labels_b)

    def coefficients(self, epoch: int) -> dict[str, float]:
        """α and ρ."""
        return {"alpha": self._alpha(epoch), "variability": self._variability(epoch)}

    def _alpha(self, epoch: int) -> float:
        settings = self.settings
        return ramp_up(
            epoch, beta=settings.beta, lambda_max=settings.alpha_max, rampup=settings.rampup, after_rampup="hold"
        )

    def _variability(self, epoch: int) -> float:
        settings = self.settings
        return variability(
            epoch,
            epochs=self.epochs,
            start=settings.variability,
            most=settings.variability_max,
            after=settings.variability_after,
        )
