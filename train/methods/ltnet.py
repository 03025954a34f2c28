"""IPA2LT's LTNet (Zeng et al. 2018): one latent truth, and how each annotator confuses it."""

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.method_params import VOTES
from pipeline.train_params import TrainParams
from train.label_files import read_annotators
from train.methods.base import (
    Given,
    Losses,
    Method,
    Setting,
    full_precision,
    sample_weights,
    weighted_mean,
)
from train.outputs import Outputs


def crowd_nll(log_p_bc: Tensor, log_t_cc: Tensor, shares_bc: Tensor) -> Tensor:
    """-log (p T)[y] averaged over a sample's votes y, B: people whose names are not known share one matrix.

    Args:
        log_p_bc: log-probabilities of the latent truth.
        log_t_cc: logarithm of their row-stochastic matrix.
        shares_bc: of the votes, by class.
    """
    return -(shares_bc * torch.logsumexp(log_p_bc[:, :, None] + log_t_cc, dim=1)).sum(-1)


def annotator_nll(log_p_bc: Tensor, log_t_acc: Tensor, labels_ab: Tensor) -> Tensor:
    """-log (p T_a)[y_a] of every annotator and sample, A x B, computed with logarithms.

    Args:
        log_p_bc: log-probabilities of the latent truth.
        log_t_acc: logarithms of row-stochastic matrices: row the truth, column what annotator a says.
        labels_ab: what each says, in [0, C).
    """
    said_abc = log_t_acc.transpose(1, 2)[torch.arange(len(labels_ab), device=labels_ab.device)[:, None], labels_ab]
    return -torch.logsumexp(log_p_bc + said_abc, dim=-1)


class LTNet(Method):
    """p_a = softmax(z)ᵀ T_a, L = Σ_a mean of -log p_a[y_a] over the samples that annotator a has labelled.

    T_a is a trained C x C matrix an annotator, row-stochastic because it is a softmax of its rows, that begins with
    `ltnet.diagonal` on its diagonal. Annotator 0 is the shards' label; `ltnet.labels` is a table of more: a column
    `key` and one column an annotator, people or models, empty or -1 where there is none. Or it is `votes`: those that
    the set itself has for each picture (FERPlus). Nobody knows who voted, so that the voters are one more annotator
    with one matrix, whose term is the mean over a picture's votes; that reading is ours. With T = I it is
    cross-entropy. Predictions are softmax(z). Gradients flow to T and the network.
    """

    networks: ClassVar[int | None] = 1
    others_an: Tensor
    shares_nc: Tensor | None

    def __init__(self, *, diagonal: float, others_an: Tensor, classes: int, shares_nc: Tensor | None = None) -> None:
        super().__init__()
        annotators = 1 + len(others_an) + (shares_nc is not None)
        rest = (1 - diagonal) / (classes - 1)
        matrix_cc = torch.full((classes, classes), rest).fill_diagonal_(diagonal).log()
        self.matrices_acc = nn.Parameter(matrix_cc.repeat(annotators, 1, 1))
        self.register_buffer("others_an", others_an, persistent=False)
        self.register_buffer("shares_nc", shares_nc, persistent=False)

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class; raises `UserError` if the table of labels is not one."""
        others = np.zeros((0, len(setting.keys)), np.int64)
        if params.ltnet.labels not in (None, VOTES):
            others = read_annotators(Path(params.ltnet.labels), setting.keys, setting.classes)
        return cls(
            diagonal=params.ltnet.diagonal,
            others_an=torch.from_numpy(others),
            classes=setting.classes,
            shares_nc=None if setting.votes_nc is None else torch.from_numpy(setting.votes_nc),
        )

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; class weights are those of the given labels."""
        log_p_bc = full_precision(outputs.logits_kbc)[0].log_softmax(-1)
        labels_ab = torch.cat([given.labels_b[None], self.others_an[:, given.positions_b]])
        present_ab = labels_ab >= 0
        log_t_acc = self.matrices_acc.to(log_p_bc).log_softmax(-1)
        losses_ab = annotator_nll(log_p_bc, log_t_acc[: len(labels_ab)], labels_ab.clamp_min(0))
        if self.shares_nc is not None:
            shares_bc = self.shares_nc[given.positions_b].to(log_p_bc)
            losses_ab = torch.cat([losses_ab, crowd_nll(log_p_bc, log_t_acc[-1], shares_bc)[None]])
            present_ab = torch.cat([present_ab, (shares_bc.sum(-1) > 0)[None]])
        total = weighted_mean(losses_ab, sample_weights(given, losses_ab) * present_ab).sum()
        trust = log_t_acc.exp().diagonal(dim1=1, dim2=2).mean(1)
        details = {f"diagonal_{annotator}": value for annotator, value in enumerate(trust)}
        return Losses(total=total, supervision=total, consistency=total.new_zeros(()), details=details)
