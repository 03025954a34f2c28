"""JoCoR (Wei et al. 2020): two networks that agree, on the samples that are easy for both together."""

from typing import ClassVar, Self

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
from train.methods.selection import asked_rate, forget_rate, smallest
from train.outputs import Outputs


class JoCoR(Method):
    """ℓ = (1 - λ) (CE_1 + CE_2) + λ (KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)); L is the mean of the ⌊(1 - r) B⌋ smallest ℓ.

    λ (`jocor.weight`, 0.1) is tuned for each set in the paper. r is Co-teaching's. Gradients flow to both networks.
    With class weights they act on the cross-entropies, in the selection too, since ℓ is one number.
    """

    networks: ClassVar[int | None] = 2

    def __init__(self, *, weight: float, rate: float, epochs: float) -> None:
        super().__init__()
        self.weight, self.rate, self.epochs = weight, rate, epochs

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(weight=params.jocor.weight, rate=asked_rate(params), epochs=params.forget_epochs)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; both parts are means over the selected samples."""
        logits_2bc = full_precision(outputs.logits_kbc)
        log_p, log_q = logits_2bc.log_softmax(-1)
        losses_2b = cross_entropies(logits_2bc, given.labels_b)
        weights_b = sample_weights(given, losses_2b)
        supervised_b = losses_2b.sum(0) * weights_b
        consistent_b = divergence(log_p, log_q) + divergence(log_q, log_p)
        joint_b = (1 - self.weight) * supervised_b + self.weight * consistent_b
        easy_b = smallest(joint_b, self._rate(given.epoch)).to(joint_b.dtype)
        supervised = weighted_mean(losses_2b.sum(0), weights_b * easy_b)
        consistent = weighted_mean(consistent_b, easy_b)
        return Losses(
            total=(1 - self.weight) * supervised + self.weight * consistent,
            supervision=supervised,
            consistency=consistent,
            details={"selected": easy_b.mean()},
        )

    def coefficients(self, epoch: int) -> dict[str, float]:
        """The forget rate r."""
        return {"forget_rate": self._rate(epoch)}

    def _rate(self, epoch: int) -> float:
        return forget_rate(epoch, rate=self.rate, epochs=self.epochs)
