"""Co-teaching+ (Yu et al. 2019): Co-teaching among the samples on which the two networks disagree."""

from typing import Self

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Setting, cross_entropies, full_precision
from train.methods.coteaching import Coteaching
from train.methods.selection import asked_rate, taught_by_peer
from train.outputs import Outputs


class CoteachingPlus(Coteaching):
    """During `warmup` epochs Co-teaching; then the same within D = {argmax z_1 ≠ argmax z_2}, |D| in the place of B.

    An empty D costs 0. The loss is the cross-entropy of logits (a public implementation feeds it with softmax).
    """

    def __init__(self, *, rate: float, epochs: float, warmup: int) -> None:
        super().__init__(rate=rate, epochs=epochs)
        self.warmup = warmup

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(rate=asked_rate(params), epochs=params.forget_epochs, warmup=params.warmup)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`."""
        if given.epoch < self.warmup:
            return super().losses(outputs, given)
        logits_2bc = full_precision(outputs.logits_kbc)
        predicted_2b = logits_2bc.argmax(-1)
        losses_2b = cross_entropies(logits_2bc, given.labels_b)
        disagreed_b = predicted_2b[0] != predicted_2b[1]
        total, selected = taught_by_peer(losses_2b, given, self._rate(given.epoch), disagreed_b)
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()), details={"selected": selected})
