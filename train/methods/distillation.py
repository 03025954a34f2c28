"""Knowledge distillation of the networks into one student (the CCT authors' follow-up), beside any method."""

from typing import Self

from torch import Tensor

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
from train.outputs import Outputs

SHARE, TEMPERATURE = 0.5, 2.0
"""Of the label in each teacher's lesson; and of both softmaxes."""


def lesson(student_bc: Tensor, teachers_kbc: Tensor, given: Given) -> Tensor:
    """Σ_k mean [½ CE(z_s, y) + ½ CE(z_s / 2, softmax(z_k / 2))]; the teachers get no gradient.

    Class weights act on the cross-entropy with the labels.
    """
    hard_1b = cross_entropies(student_bc[None], given.labels_b)
    supervised = weighted_mean(hard_1b, sample_weights(given, hard_1b)).sum()
    soft_kbc = (teachers_kbc.detach() / TEMPERATURE).softmax(-1)
    imitated_k = -(soft_kbc * (student_bc / TEMPERATURE).log_softmax(-1)).sum(-1).mean(1)
    return SHARE * supervised * len(teachers_kbc) + (1 - SHARE) * imitated_k.sum()


class Distilled(Method):
    """Any method, and beside its K networks a student that learns from the labels and from each of them.

    L = L of the method + `lesson`. The K networks learn as without a student: the lesson pulls at the student alone.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method, self.needs = method, method.needs

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """Not built by name."""
        raise NotImplementedError("a student comes with `distill: on`, beside a method")

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; only the first view is taught."""
        assert outputs.student_sbc is not None
        losses, seen = self.method.losses(outputs, given), len(given.labels_b)
        student_bc = full_precision(outputs.student_sbc)[0, :seen]
        taught = lesson(student_bc, full_precision(outputs.logits_kbc)[:, :seen], given)
        details = {**losses.details, "distillation": taught}
        return losses._replace(total=losses.total + taught, details=details)

    def views(self, pictures_bchw: Tensor, given: Given) -> Tensor:
        """The method's."""
        return self.method.views(pictures_bchw, given)

    def observe(self, outputs: Outputs, given: Given) -> None:
        """The method's."""
        self.method.observe(outputs, given)

    def coefficients(self, epoch: int) -> dict[str, float]:
        """The method's."""
        return self.method.coefficients(epoch)
