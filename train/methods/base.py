"""What a training method is: a loss over the networks' logits, and the coefficients worth logging."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Losses(NamedTuple):
    """Scalars of one batch; `total` is what is minimised, the others are its parts before weighting."""

    total: Tensor
    supervision: Tensor
    consistency: Tensor


class Method(Protocol):
    """A rule by which K networks learn from one batch."""

    def losses(
        self,
        logits_kbc: Tensor,
        labels_b: Tensor,
        *,
        epoch: int,
        class_weights_c: Tensor | None,
    ) -> Losses:
        """The losses of one batch, computed in float32 (float64 for float64 logits), differentiable.

        Args:
            logits_kbc: K networks, B samples, C classes.
            labels_b: given classes, int64, on the logits' device.
            epoch: from 0.
            class_weights_c: weights of the classes in the supervision, or None for equal ones.
        """
        ...

    def coefficients(self, epoch: int) -> dict[str, float]:
        """What the epoch determines, by the name under which it is logged."""
        ...


def full_precision(logits: Tensor) -> Tensor:
    """Logits in float32 whatever autocast made of them; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def supervision(logits_kbc: Tensor, labels_b: Tensor, class_weights_c: Tensor | None) -> Tensor:
    """The sum over networks of the mean cross-entropy (CCT, Eq. 2).

    The mean is that of torch's `CrossEntropyLoss(weight)`: Σ w_y CE / Σ w_y over the batch. A batch whose
    labels weigh nothing costs 0.
    """
    losses_kb = functional.cross_entropy(
        logits_kbc.transpose(1, 2), labels_b.expand(len(logits_kbc), -1), reduction="none"
    )
    if class_weights_c is None:
        return losses_kb.mean(1).sum()
    weights_b = class_weights_c.to(losses_kb)[labels_b]
    return (losses_kb * weights_b).sum() / weights_b.sum().clamp_min(torch.finfo(weights_b.dtype).tiny)
