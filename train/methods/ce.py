"""Plain cross-entropy: K networks that learn side by side and never hear of each other."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.params import TrainParams
from train.methods.base import Losses, full_precision, supervision


@dataclass(frozen=True)
class CE:
    """The sum over networks of their cross-entropies; the consistency is 0."""

    @classmethod
    def from_params(cls, _params: TrainParams) -> "CE":
        """Cross-entropy has nothing to set."""
        return cls()

    def losses(
        self,
        logits_kbc: Tensor,
        labels_b: Tensor,
        *,
        epoch: int,
        class_weights_c: Tensor | None,
    ) -> Losses:
        """See `Method.losses`; the same in every epoch."""
        total = supervision(full_precision(logits_kbc), labels_b, class_weights_c)
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()))

    def coefficients(self, epoch: int) -> dict[str, float]:
        """Nothing depends on the epoch."""
        return {}
