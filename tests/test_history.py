"""The course of training: against a plain computation, through a state, and read back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.contract import UserError
from train.history import HISTORY, History, read_course
from train.methods import Given
from train.outputs import Outputs

SAMPLES, EPOCHS, CLASSES = 12, 7, 4


def batches(epoch: int) -> list[tuple[Outputs, Given]]:
    """Two batches of an epoch, which leave out sample 11 always and sample `epoch` in its epoch; two views of each."""
    generator = torch.Generator().manual_seed(epoch)
    positions = torch.tensor([n for n in torch.randperm(SAMPLES, generator=generator).tolist() if n not in (epoch, 11)])
    found = []
    for part in positions.split(6):
        logits = 4 * torch.randn(3, 2 * len(part), CLASSES, generator=generator)
        given = Given(labels_b=part % CLASSES, positions_b=part, epoch=epoch, class_weights_c=None)
        found.append((Outputs(logits), given))
    return found


def noted(history: History, epochs: range) -> History:
    for epoch in epochs:
        history.begin(epoch)
        for outputs, given in batches(epoch):
            history.note(outputs, given)
    return history


def written(folder: Path, history: History) -> Path:
    (folder / f"{HISTORY}.safetensors").write_bytes(history.content(EPOCHS))
    return folder


def test_course_is_that_of_a_plain_computation(tmp_path: Path) -> None:
    course = read_course(written(tmp_path, noted(History.empty(SAMPLES, EPOCHS), range(EPOCHS))), SAMPLES)
    margins: dict[int, list[float]] = {position: [] for position in range(SAMPLES)}
    confidences = np.full((EPOCHS, SAMPLES), np.nan)
    for epoch in range(EPOCHS):
        for outputs, given in batches(epoch):
            logits = outputs.logits_kbc.double().numpy()[:, : len(given.labels_b)]
            shares = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).mean(0)
            for row, label, position in zip(shares, given.labels_b.tolist(), given.positions_b.tolist(), strict=True):
                confidences[epoch, position] = row[label]
                margins[position].append(row[label] - np.delete(row, label).max())
    np.testing.assert_allclose(course.confidence_en, confidences[-5:], atol=6e-4)
    expected = [np.mean(each) if each else np.nan for each in margins.values()]
    np.testing.assert_allclose(course.margin_n, expected, atol=1e-6)
    assert course.shown_n.tolist() == [len(each) for each in margins.values()]


def test_a_history_that_was_taken_up_again_is_the_same_to_the_bit() -> None:
    whole = noted(History.empty(SAMPLES, EPOCHS), range(EPOCHS))
    first = noted(History.empty(SAMPLES, EPOCHS), range(4))
    second = History.empty(SAMPLES, EPOCHS)
    second.load({name: value.clone() for name, value in first.state().items()})
    assert noted(second, range(4, EPOCHS)).content(EPOCHS) == whole.content(EPOCHS)


def test_two_million_samples_take_megabytes() -> None:
    """What a snapshot of Aff-Wild2 grows by."""
    assert sum(each.nbytes for each in History.empty(2_100_000, 30).state().values()) < 40_000_000


@pytest.mark.parametrize(
    ("content", "samples", "named"),
    [(None, SAMPLES, "not found"), (b"xx", SAMPLES, "damaged"), (b"", SAMPLES + 1, "the shards have 13")],
)
def test_what_is_wrong_with_it_is_said(tmp_path: Path, content: bytes | None, samples: int, named: str) -> None:
    written(tmp_path, History.empty(SAMPLES, EPOCHS))
    path = tmp_path / f"{HISTORY}.safetensors"
    if content is None:
        path.unlink()
    elif content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=named):
        read_course(tmp_path, samples)
