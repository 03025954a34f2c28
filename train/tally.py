"""Running means over the samples of an epoch: what becomes a row of training.csv."""

from dataclasses import dataclass, field

import torch
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


def measures(losses: Losses, outputs: Outputs, given: Given) -> dict[str, tuple[float, float]]:
    """A batch's losses, the ensemble's accuracy on the given labels, and how many samples all networks agree on.

    Both shares are of the predictions that the step was taken on: in training mode, under augmentation.
    """
    logits_kbc = outputs.logits_kbc[:, : len(given.labels_b)].float()
    ensemble_b = logits_kbc.softmax(-1).mean(0).argmax(-1)
    predictions_kb = logits_kbc.argmax(-1)
    named: dict[str, Tensor] = {
        "loss": losses.total,
        "supervision": losses.supervision,
        "consistency": losses.consistency,
        "train_accuracy": (ensemble_b == given.labels_b).float().mean(),
        "agree_all": (predictions_kb == predictions_kb[0]).all(0).float().mean(),
        **losses.details,
    }
    values = torch.stack([value.detach().float() for value in named.values()]).tolist()
    return {name: (value, float(len(given.labels_b))) for name, value in zip(named, values, strict=True)}
