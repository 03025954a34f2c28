"""Self-Cure Network (Wang et al. 2020): an attention weight a sample, ranked, and doubtful samples relabelled."""

import math
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from pipeline.method_params import ScnParams
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
from train.methods.memory import SampleMemory
from train.outputs import Needs, Outputs


def rank_loss(attention_b: Tensor, *, margin: float, top_share: float) -> tuple[Tensor, Tensor]:
    """max(0, δ1 - (mean a of the top group - mean a of the rest)), and the mask of the rest; 0 if a group is empty."""
    top = math.floor(top_share * len(attention_b) + 1e-9)
    order = attention_b.argsort(descending=True, stable=True)
    low_b = torch.ones_like(attention_b, dtype=torch.bool)
    low_b[order[:top]] = False
    if not 0 < top < len(attention_b):
        return attention_b.sum() * 0, low_b
    gap = attention_b[order[:top]].mean() - attention_b[order[top:]].mean()
    return (margin - gap).clamp_min(0), low_b


class SCN(Method):
    """a = σ(w·f), z = a W f; L = CE(z, y) + max(0, δ1 - (mean a_high - mean a_low)), with the top 70 % high.

    From epoch `relabel_from` (from 0) a sample of the low group whose P_max - P_y exceeds δ2 is relabelled with its
    most probable class, P = softmax(z); the label is kept by sample key and counts from the next time the sample is
    seen. δ1 = 0.15, δ2 = 0.2. Gradients flow through a; relabelling carries none. z includes the bias of W.
    Predictions are those of W f: a is positive and does not change the arg max, but W f is the more confident.
    """

    networks: ClassVar[int | None] = 1
    needs = Needs(features=True)

    def __init__(self, settings: ScnParams, *, seed: int, setting: Setting) -> None:
        super().__init__()
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.attention = nn.Linear(setting.features, 1)
        self.relabelled = SampleMemory(setting.keys, initial=-1)

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class."""
        return cls(params.scn, seed=params.seed, setting=setting)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; `consistency` is the ranking loss, class weights are those of the given labels."""
        attention_b, logits_bc = self._attended(outputs)
        ranked, _ = rank_loss(attention_b, margin=self.settings.margin, top_share=self.settings.top_share)
        losses_b = cross_entropies(logits_bc[None], self._labels(given))[0]
        supervised = weighted_mean(losses_b, sample_weights(given, losses_b))
        changed = (self._labels(given) != given.labels_b).to(supervised.dtype).mean()
        details = {"relabelled": changed, "attention": attention_b.mean()}
        return Losses(total=supervised + ranked, supervision=supervised, consistency=ranked, details=details)

    def observe(self, outputs: Outputs, given: Given) -> None:
        """Relabels, by the attention weights of the same pass."""
        if given.epoch < self.settings.relabel_from:
            return
        with torch.no_grad():
            attention_b, logits_bc = self._attended(outputs)
            _, low_b = rank_loss(attention_b, margin=self.settings.margin, top_share=self.settings.top_share)
            p_bc = logits_bc.softmax(-1)
            surest_b, class_b = p_bc.max(-1)
            own_b = p_bc.gather(1, self._labels(given)[:, None])[:, 0]
            doubtful_b = low_b & (surest_b - own_b > self.settings.relabel_margin)
            self.relabelled.remember(given.positions_b[doubtful_b], class_b[doubtful_b])

    def _labels(self, given: Given) -> Tensor:
        remembered_b = self.relabelled.recall(given.positions_b)
        return torch.where(remembered_b >= 0, remembered_b, given.labels_b)

    def _attended(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        assert outputs.features_kbd is not None
        features_bd = full_precision(outputs.features_kbd)[0]
        products_bd = features_bd * self.attention.weight.to(features_bd)  # not a matmul, which autocast would round
        attention_b = torch.sigmoid(products_bd.sum(-1) + self.attention.bias.to(features_bd))
        return attention_b, attention_b[:, None] * full_precision(outputs.logits_kbc)[0]
