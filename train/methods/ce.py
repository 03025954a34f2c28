"""Plain cross-entropy: K networks that learn side by side and never hear of each other."""

from typing import Self

from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting, full_precision, supervision
from train.outputs import Outputs


class CE(Method):
    """The sum over networks of their cross-entropies; the consistency is 0."""

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """Cross-entropy has nothing to set."""
        return cls()

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; the same in every epoch."""
        total = supervision(full_precision(outputs.logits_kbc), given)
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()))
