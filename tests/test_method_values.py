"""Every method against its independent float64 reference."""

import numpy as np
import pytest
import torch

from tests.method_cases import KEYS, SETTING, cases
from tests.method_references import REFERENCES, draw
from train.methods import METHODS
from train.methods.memory import key_words, uniform_draws

torch.set_num_threads(1)


def test_every_method_has_a_reference() -> None:
    assert set(REFERENCES) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_equals_its_reference(method: str) -> None:
    for each in cases(method):
        assert each.deviation() <= 1e-6, each
        assert each.moved(torch.float32).deviation() <= 1e-3, each


@pytest.mark.parametrize("method", ["cct", "eac"])  # of one view, and of two
def test_a_method_with_a_student_equals_its_reference(method: str) -> None:
    for each in cases(method, student=True):
        assert each.deviation() <= 1e-6, each
        assert each.moved(torch.float32).deviation() <= 1e-3, each


def test_draws_equal_an_implementation_in_whole_numbers_of_any_size() -> None:
    words = key_words(SETTING.keys)
    found = uniform_draws(words, 7, 3, 1, draws=3)
    expected = [[draw(key, [7, 3, 1], number) for key in KEYS] for number in (1, 2, 3)]
    assert found.tolist() == expected
    assert uniform_draws(words[[5, 2]], 7, 3, 1, draws=3).tolist() == found[:, [5, 2]].tolist()


def test_draws_are_uniform_and_independent() -> None:
    words = torch.arange(40_000)
    draws = np.stack([uniform_draws(words, seed, epoch, draws=2).numpy() for seed in (0, 1) for epoch in (0, 1)])
    flat = draws.reshape(8, -1)
    for row in flat:
        assert np.abs(np.histogram(row, bins=20, range=(0, 1))[0] / len(row) - 0.05).max() < 0.006
    assert np.abs(np.corrcoef(flat) - np.eye(8)).max() < 0.03
