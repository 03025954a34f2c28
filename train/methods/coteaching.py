"""Co-teaching (Han et al. 2018): each of two networks learns from the samples that are easy for the other."""

from typing import ClassVar, Self

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting, cross_entropies, full_precision
from train.methods.selection import asked_rate, forget_rate, taught_by_peer
from train.outputs import Outputs


class Coteaching(Method):
    """S_k: the ⌊(1 - r) B⌋ smallest CE_k; L = mean of CE_1 over S_2 + mean of CE_2 over S_1. An empty S costs 0.

    r rises to τ (`forget_rate`) over T_k (`forget_epochs`, 10) epochs; only indices pass between the networks.
    """

    networks: ClassVar[int | None] = 2

    def __init__(self, *, rate: float, epochs: float) -> None:
        super().__init__()
        self.rate, self.epochs = rate, epochs

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(rate=asked_rate(params), epochs=params.forget_epochs)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`."""
        losses_2b = cross_entropies(full_precision(outputs.logits_kbc), given.labels_b)
        total, selected = taught_by_peer(losses_2b, given, self._rate(given.epoch))
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()), details={"selected": selected})

    def coefficients(self, epoch: int) -> dict[str, float]:
        """The forget rate r."""
        return {"forget_rate": self._rate(epoch)}

    def _rate(self, epoch: int) -> float:
        return forget_rate(epoch, rate=self.rate, epochs=self.epochs)
