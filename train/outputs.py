"""What K networks say about a batch, and how much of it somebody needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is wanted besides logits; nothing else is kept."""

    features: bool = False
    attention: bool = False


class Outputs(NamedTuple):
    """In each tensor the first axis is the network and the second the sample, so that ranks can be joined along it.

    Attributes:
        logits_kbc: K networks, B samples, C classes.
        features_kbd: what the last linear layer is given, D numbers a sample; None unless needed.
        attention_kbchw: class activation maps: the last linear layer without its bias at every place of the last
            feature map (Zhou et al. 2016), H x W; None unless needed.
        student_sbc: logits of the student, S = 1; None where there is none.
    """

    logits_kbc: Tensor
    features_kbd: Tensor | None = None
    attention_kbchw: Tensor | None = None
    student_sbc: Tensor | None = None

    @classmethod
    def joined(cls, parts: "Sequence[Outputs]", axis: int) -> "Outputs":
        """The outputs of several networks (axis 0), or for several batches (axis 1), as one."""
        return cls(
            torch.cat([part.logits_kbc for part in parts], axis),
            _joined([part.features_kbd for part in parts], axis),
            _joined([part.attention_kbchw for part in parts], axis),
            _joined([part.student_sbc for part in parts], axis),
        )

    @property
    def everyones_kbc(self) -> Tensor:
        """Logits of all networks, then the student's if there is one."""
        return self.logits_kbc if self.student_sbc is None else torch.cat([self.logits_kbc, self.student_sbc])

    def detached(self) -> "Outputs":
        """The same numbers without their history."""
        return self.changed(Tensor.detach)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """What becomes of each tensor that is there."""
        rest = (None if tensor is None else change(tensor) for tensor in self[1:])
        return Outputs(change(self.logits_kbc), *rest)


def _joined(parts: list[Tensor | None], axis: int) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors, axis) if tensors else None
