"""How the networks took each training sample while they learned: what the audit reads over epochs.

A label that is wrong is learned late or never: the confidence in it stays low, and another class is preferred for most
of the training (Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking"). Once the
label is memorised the last epoch's networks do not show that any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from pipeline.contract import UserError
from train.methods.base import Given
from train.outputs import Outputs

HISTORY = "history"
"""Name of the file in the model folder, and in snapshots."""

_KEPT = 5
"""Epochs, the last ones, whose confidences are kept: with the sums 18 bytes a sample, 38 MB for 2.1 million."""


class Course(NamedTuple):
    """What a finished training tells of N samples, by position in the stored order of the split.

    Attributes:
        confidence_en: the ensemble's probability of the given label in each of the last E epochs, from the oldest; NaN
            where an epoch did not show the sample.
        margin_n: that probability minus the largest of another class, averaged over all showings: the area under the
            margin, of probabilities and thus in [-1, 1]. NaN for a sample that was never shown.
        shown_n: number of showings.
    """

    confidence_en: NDArray[np.float32]
    margin_n: NDArray[np.float32]
    shown_n: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class History:
    """The course of a training under way: plain sums, so that a snapshot holds it to the bit.

    Attributes:
        confidence_en: float16; epoch e is in row e modulo E.
        margin_n: float32, summed.
        shown_n: int32.
    """

    confidence_en: Tensor
    margin_n: Tensor
    shown_n: Tensor

    @classmethod
    def empty(cls, samples: int, epochs: int) -> "History":
        """Of a training that has not begun."""
        return cls(
            confidence_en=torch.full((min(epochs, _KEPT), samples), torch.nan, dtype=torch.float16),
            margin_n=torch.zeros(samples),
            shown_n=torch.zeros(samples, dtype=torch.int32),
        )

    def begin(self, epoch: int) -> None:
        """Makes room for an epoch: the oldest of the kept ones is forgotten."""
        self.confidence_en[epoch % len(self.confidence_en)] = torch.nan

    def note(self, outputs: Outputs, given: Given) -> None:
        """Adds a batch; of a sample that an epoch shows again the later confidence is kept.

        The predictions are those that the step was taken on: in training mode, under augmentation. Every rank is given
        the whole batch, so that all have the same history.
        """
        count = len(given.labels_b)
        ensemble_bc = outputs.logits_kbc[:, :count].float().softmax(-1).mean(0)
        own_b1 = given.labels_b[:, None]
        confidence_b = ensemble_bc.gather(1, own_b1)[:, 0]
        margin_b = confidence_b - ensemble_bc.scatter(1, own_b1, -1.0).amax(1)
        told = torch.stack([confidence_b, margin_b]).cpu().numpy()
        positions = given.positions_b.cpu().numpy()
        row = self.confidence_en[given.epoch % len(self.confidence_en)].numpy()
        row[positions] = told[0].astype(np.float16)
        np.add.at(self.margin_n.numpy(), positions, told[1])
        np.add.at(self.shown_n.numpy(), positions, 1)

    def state(self) -> dict[str, Tensor]:
        """What `load` takes."""
        return {"confidence": self.confidence_en, "margin": self.margin_n, "shown": self.shown_n}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a snapshot."""
        for name, own in self.state().items():
            own.copy_(state[name])

    def content(self, epochs: int) -> bytes:
        """The history after so many epochs as safetensors, epochs in order: what `read_course` reads."""
        confidence_en = self.confidence_en.roll(-(epochs % len(self.confidence_en)), 0)
        return safetensors.torch.save(self.state() | {"confidence": confidence_en.contiguous()})


def read_course(folder: Path, samples: int, *, mixed: bool = False) -> Course:
    """The course of the training that made a model folder, over so many samples.

    Args:
        folder: of the model.
        samples: of the training split of the main set.
        mixed: whether those of other sets were learned from too; they come behind, and are left out.

    Raises:
        UserError: if the folder has none, or one of another number of samples.
    """
    path = folder / f"{HISTORY}.safetensors"
    try:
        found = {name: value.numpy() for name, value in safetensors.torch.load_file(path).items()}
        confidence_en, sum_n, shown_n = found["confidence"], found["margin"], found["shown"]
    except FileNotFoundError:
        raise UserError(f"{path} not found; train with `dvc repro`, or fetch it with `dvc pull`") from None
    except (SafetensorError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or of another version ({reason}); train again with `dvc repro`") from None
    if len(shown_n) < samples or (len(shown_n) > samples and not mixed):
        raise UserError(f"{path} is of {len(shown_n)} samples, the shards have {samples}; run `dvc repro train`")
    with np.errstate(invalid="ignore"):
        margin_n = np.where(shown_n > 0, sum_n / shown_n, np.nan)
    own = slice(samples)
    return Course(confidence_en[:, own].astype(np.float32), margin_n[own].astype(np.float32), shown_n[own])
