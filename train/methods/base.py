"""What a training method is: a loss over what the networks say, with modules and memories of its own if need be."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.train_params import TrainParams
from train.outputs import Needs, Outputs

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Losses(NamedTuple):
    """Scalars of one batch; `total` is what is minimised, the next two are its parts before weighting.

    `details` are more scalars worth a column of training.csv, averaged over the epoch; the same names in every batch.
    """

    total: Tensor
    supervision: Tensor
    consistency: Tensor
    details: Mapping[str, Tensor] = _NOTHING


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is known of a batch before the networks see it; B samples on the networks' device.

    Attributes:
        labels_b: given classes, int64.
        positions_b: places in the training split's sample table, int64; `Setting.keys` names them.
        epoch: from 0.
        class_weights_c: weights of the classes in the supervision, or None for equal ones.
    """

    labels_b: Tensor
    positions_b: Tensor
    epoch: int
    class_weights_c: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a method may need to know of the training set and the networks when it is built.

    Attributes:
        keys: of the training split's samples, in the order of their positions.
        classes: C.
        features: D, the width of what the networks' last layer is given.
        attention: whether the networks have class activation maps.
        votes_nc: for each sample the share of its votes that each class got, 0 throughout where it has none; None
            unless the parameters ask for them.
    """

    keys: "pd.Series[str]"
    classes: int
    features: int
    attention: bool
    votes_nc: NDArray[np.float32] | None = None


class Method(nn.Module, ABC):
    """A rule by which K networks learn from one batch.

    Whoever trains calls, for every batch, `views`, the networks, `losses`, then backward, then `observe` and a step.

    - Parameters of the module are trained by the same optimiser with `lr_head`; parameters and buffers are all the
      state there is: a checkpoint that holds `state_dict()` holds the method. What is remembered of samples is
      remembered by their keys.
    - A method sees the whole batch. Where ranks share one, the rows of all are joined, view by view and in rank order,
      before `losses` and `observe` (they are small: logits, features), and only a rank's own rows carry a gradient. So
      selections and means are those of the global batch, and memories stay equal on all ranks. The gradients of the
      networks are then summed over ranks; those of a method's own parameters are whole, and equal, on each.
    - Nothing is drawn from a global random state: draws are functions of (seed, epoch, sample key, network).
    """

    networks: ClassVar[int | None] = None
    """K, where the method is defined for one number of networks only."""

    needs: Needs = Needs()

    @classmethod
    @abstractmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """The method as the parameters ask for it; raises `UserError` if it cannot be had in this setting."""

    @abstractmethod
    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """The losses of one batch, computed in float32 (float64 for float64 logits), differentiable; changes nothing.

        Args:
            outputs: of the networks for `views(...)`, in its order.
            given: the batch.
        """

    def views(self, pictures_bchw: Tensor, given: Given) -> Tensor:
        """What the networks are shown: B or a multiple of B normalised pictures, the first B one for each sample."""
        return pictures_bchw

    def observe(self, outputs: Outputs, given: Given) -> None:
        """Updates memories, once it is certain that a step will be taken and before it is.

        `outputs` are those of `losses`, detached, and the method's parameters are those that `losses` met.
        """

    def coefficients(self, epoch: int) -> dict[str, float]:
        """What the epoch determines, by the name under which it is logged."""
        return {}


def full_precision(logits: Tensor) -> Tensor:
    """Logits in float32 whatever autocast made of them; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def cross_entropies(logits_kbc: Tensor, labels_kb: Tensor) -> Tensor:
    """Cross-entropy of every network and sample, K x B; labels of all networks alike may be given as B."""
    labels_kb = labels_kb.expand(logits_kbc.shape[:2])
    return functional.cross_entropy(logits_kbc.transpose(1, 2), labels_kb, reduction="none")


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) from log-probabilities over the last axis; gradients flow to both."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def sample_weights(given: Given, like: Tensor) -> Tensor:
    """The class weight of every sample's given label, B; ones without class weights."""
    if given.class_weights_c is None:
        return torch.ones_like(given.labels_b, dtype=like.dtype)
    return given.class_weights_c.to(like)[given.labels_b]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ w v / Σ w over the last axis, as torch's `CrossEntropyLoss(weight)`; 0, without gradient, if nothing weighs."""
    weights = weights.expand_as(values)
    return (values * weights).sum(-1) / weights.sum(-1).clamp_min(torch.finfo(weights.dtype).tiny)


def supervision(logits_kbc: Tensor, given: Given) -> Tensor:
    """The sum over networks of the mean cross-entropy (CCT, Eq. 2), by class weights where there are any."""
    losses_kb = cross_entropies(logits_kbc, given.labels_b)
    return weighted_mean(losses_kb, sample_weights(given, losses_kb)).sum()
