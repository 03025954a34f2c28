import numpy as np
import pytest
import torch

from train.methods import Given, Losses
from train.metrics import agreement
from train.outputs import Outputs
from train.tally import Tally, measures

ZERO = torch.zeros(())


def said(predictions: list[list[int]], classes: int = 4) -> Outputs:
    """Sure networks: logits of 9 for what each predicts."""
    return Outputs(9.0 * torch.nn.functional.one_hot(torch.tensor(predictions), classes))


def given(labels: list[int], positions: list[int]) -> Given:
    return Given(labels_b=torch.tensor(labels), positions_b=torch.tensor(positions), epoch=0)


def test_means_are_weighted_by_samples() -> None:
    tally = Tally()
    tally.add({"loss": (1.0, 3.0), "flipped_fit": (0.0, 0.0)})
    tally.add({"loss": (2.0, 1.0), "flipped_fit": (0.5, 2.0)})
    assert tally.means() == {"loss": 1.25, "flipped_fit": 0.5}
    tally = Tally()
    tally.add({"flipped_fit": (0.0, 0.0)})
    assert np.isnan(tally.means()["flipped_fit"])


def test_memorised_labels_are_told_from_the_true_ones() -> None:
    truth = np.array([9, 0, 1, 2, 3])
    outputs = said([[1, 1, 2, 0], [1, 0, 2, 3], [1, 0, 3, 3]])
    found = measures(Losses(ZERO, ZERO, ZERO), outputs, given([1, 0, 2, 3], [1, 2, 3, 4]), truth)
    # given 1 0 2 3, true 0 1 2 3: the first two are flipped; the ensemble says 1 0 2 3
    assert found["flipped_fit"] == (1.0, 2.0)
    assert found["flipped_true"] == (0.0, 2.0)
    assert found["flipped_fit_1"] == (0.5, 2.0)
    assert found["flipped_true_1"] == (0.5, 2.0)
    assert found["train_accuracy"] == (1.0, 4.0)


def test_agreement_is_that_of_the_metrics() -> None:
    predictions = torch.randint(4, (3, 50), generator=torch.Generator().manual_seed(0))
    found = measures(Losses(ZERO, ZERO, ZERO), said(predictions.tolist()), given([0] * 50, list(range(50))))
    expected = agreement(predictions.numpy())
    assert [found[f"agree_{k}"][0] for k in (1, 2, 3)] == pytest.approx(expected)
    assert found["agree_all"] == found["agree_3"]
    assert not [name for name in found if name.startswith("flipped")]


def test_only_the_first_view_counts_and_details_are_kept() -> None:
    outputs = said([[0, 1, 3, 3]])
    found = measures(Losses(ZERO, ZERO, ZERO, {"selected": torch.tensor(0.5)}), outputs, given([0, 1], [0, 1]))
    assert found["train_accuracy"] == (1.0, 2.0)
    assert found["selected"] == (0.5, 2.0)
