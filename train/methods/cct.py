"""Consensual Collaborative Training (Gera and Balasubramanian 2021): supervision gives way to consensus."""

from typing import Self

from torch import Tensor

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting, divergence, full_precision, supervision
from train.outputs import Outputs
from train.schedules import AfterRampUp, course_after, ramp_up, ramp_up_epoch

ORIGINAL_SCALE = 0.33
"""The authors' code multiplies both sums by this, for three networks; the paper does not."""


class CCT(Method):
    """L = (1 - λ) L_sup + λ L_cons (Eq. 1) for any number of networks; of one, L_cons is 0."""

    def __init__(
        self, *, beta: float, lambda_max: float, rampup: float, after_rampup: AfterRampUp, scale: float = 1.0
    ) -> None:
        """The loss with its schedule.

        Args:
            beta: β of Eq. 4.
            lambda_max: the largest λ; 0 leaves the sum of cross-entropies.
            rampup: e_r of Eq. 4, in epochs.
            after_rampup: whether λ holds or falls after e_r.
            scale: factor of both sums: 1 in the paper.
        """
        super().__init__()
        self.beta, self.lambda_max, self.rampup, self.after_rampup = beta, lambda_max, rampup, after_rampup
        self.scale = scale

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """The paper's form; with `compat: original` both sums are scaled by 0.33 and λ falls after e_r."""
        original = params.compat == "original"
        return cls(
            beta=params.beta,
            lambda_max=params.lambda_max,
            rampup=ramp_up_epoch(params.epochs, params.rampup),
            after_rampup=course_after(params.compat, params.after_rampup),
            scale=ORIGINAL_SCALE if original else 1.0,
        )

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`. Class weights act on the supervision alone; both parts carry `scale`."""
        logits_kbc = full_precision(outputs.logits_kbc)
        supervised = self.scale * supervision(logits_kbc, given)
        consistent = self.scale * consistency(logits_kbc)
        weight = self._lambda(given.epoch)
        total = (1 - weight) * supervised + weight * consistent
        return Losses(total=total, supervision=supervised, consistency=consistent)

    def coefficients(self, epoch: int) -> dict[str, float]:
        """λ of the epoch."""
        return {"lambda": self._lambda(epoch)}

    def _lambda(self, epoch: int) -> float:
        return ramp_up(
            epoch,
            beta=self.beta,
            lambda_max=self.lambda_max,
            rampup=self.rampup,
            after_rampup=self.after_rampup,
        )


def consistency(logits_kbc: Tensor) -> Tensor:
    """Σ_j Σ_{k≠j} mean_B KL(p_k ‖ p_j) (Eq. 3); gradients flow through both sides; 0 for equal logits."""
    log_p = logits_kbc.log_softmax(-1)
    return divergence(log_p[:, None], log_p[None, :]).sum((0, 1)).mean()
