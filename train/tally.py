"""Running means over the samples of an epoch: what becomes a row of training.csv."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.methods.base import Given, Losses
from train.outputs import Outputs


@dataclass
class Tally:
    """Sums and weights by name; plain numbers, so that a checkpoint in mid-epoch can hold them."""

    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, measured: dict[str, tuple[float, float]]) -> None:
        """Adds (mean, weight) pairs; a weight of 0 makes room for a name and adds nothing."""
        for name, (mean, weight) in measured.items():
            self.sums[name] = self.sums.get(name, 0.0) + (mean * weight if weight else 0.0)
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """The weighted mean of every name, in the order in which they came; not a number where nothing weighed."""
        return {
            name: total / self.weights[name] if self.weights[name] else float("nan")
            for name, total in self.sums.items()
        }


def measures(
    losses: Losses, outputs: Outputs, given: Given, truth_n: NDArray[np.int64] | None = None
) -> dict[str, tuple[float, float]]:
    """A batch's losses, accuracy on the given labels, agreement, and how many wrong labels were taken over.

    All shares are of the predictions that the step was taken on: in training mode, under augmentation, of networks that
    changed during the epoch. `agree_k`: the largest group of networks with one opinion has k members. `flipped_fit`:
    of the samples with a wrong label, those for which the ensemble predicts it; `flipped_true`: the true one instead;
    `_k` after them: the k-th network.

    Args:
        losses: of the batch.
        outputs: of the batch, detached.
        given: the batch.
        truth_n: true classes by position, or None where the given labels are true.
    """
    logits_kbc = outputs.logits_kbc[:, : len(given.labels_b)].float()
    predictions_kb = logits_kbc.argmax(-1)
    ensemble_b = logits_kbc.softmax(-1).mean(0).argmax(-1)
    named: dict[str, Tensor] = {
        "loss": losses.total,
        "supervision": losses.supervision,
        "consistency": losses.consistency,
        "train_accuracy": (ensemble_b == given.labels_b).float().mean(),
        **_agreement(predictions_kb),
        **losses.details,
    }
    values = torch.stack([value.detach().float() for value in named.values()]).tolist()
    found = {name: (value, float(len(given.labels_b))) for name, value in zip(named, values, strict=True)}
    if truth_n is None:
        return found
    predicted = {"": ensemble_b} | {f"_{k}": each for k, each in enumerate(predictions_kb, start=1)}
    return found | _memorised(predicted, given, truth_n)


def _agreement(predictions_kb: Tensor) -> dict[str, Tensor]:
    largest_b = (predictions_kb[:, None] == predictions_kb[None]).sum(0).amax(0)
    networks = len(predictions_kb)
    counts = {f"agree_{k}": (largest_b == k).float().mean() for k in range(1, networks + 1)}
    return {"agree_all": counts[f"agree_{networks}"]} | counts


def _memorised(
    predicted: dict[str, Tensor], given: Given, truth_n: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    labels = given.labels_b.cpu().numpy()
    truth = truth_n[given.positions_b.cpu().numpy()]
    flipped = labels != truth
    weight = float(flipped.sum())
    found = {}
    for name, predictions_b in predicted.items():
        said = predictions_b.cpu().numpy()
        for kind, labels_of_kind in (("fit", labels), ("true", truth)):
            share = float((said == labels_of_kind)[flipped].mean()) if weight else 0.0
            found[f"flipped_{kind}{name}"] = (share, weight)
    return found
