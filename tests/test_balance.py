"""Balance: hand values, and scikit-learn's and SciPy's figures for the same counts."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.utils.class_weight import compute_class_weight

from pipeline import balance
from pipeline.statistics import balance_plots, balance_report, class_counts

CLASSES = ("a", "b", "c")
Counts = st.lists(st.integers(0, 10**6), min_size=2, max_size=9)


@pytest.fixture
def samples() -> pd.DataFrame:
    """Nine samples of three videos, two splits and three shards; class c does not occur."""
    columns = ["split", "video", "shard", "label"]
    rows = [("train", "v1", "s0", 0)] * 3 + [("train", "v2", "s1", 1)] + [("train", "v1", "s1", 0)] * 2
    return pd.DataFrame(rows + [("val", "v3", "s2", 1)] * 3, columns=columns)


def test_the_ratio_is_of_the_largest_to_the_smallest_class_that_occurs() -> None:
    assert balance.imbalance_ratio([10, 40, 5]) == 8
    assert balance.imbalance_ratio([10, 0, 5]) == 2
    assert balance.imbalance_ratio([7]) == 1
    assert balance.imbalance_ratio([0, 0]) is None
    assert balance.imbalance_ratio([]) is None


@given(Counts)
def test_entropy_is_scipys_over_its_maximum(counts: list[int]) -> None:
    measured = balance.normalised_entropy(counts)
    if sum(counts) == 0:
        assert measured is None
    else:
        assert measured == pytest.approx(entropy(counts) / math.log(len(counts)), abs=1e-12)


def test_entropy_is_one_when_even_and_nought_for_a_single_class() -> None:
    assert balance.normalised_entropy([4] * 7) == pytest.approx(1, abs=1e-15)
    assert balance.normalised_entropy([0, 9, 0]) == 0
    assert balance.normalised_entropy([3, 1]) == pytest.approx(2 - 0.75 * math.log2(3))
    assert balance.normalised_entropy([0, 0]) is None
    assert balance.normalised_entropy([5]) is None


def test_effective_numbers_are_those_of_cui_et_al() -> None:
    """Eq. 2 by its series, 1 + beta + ... + beta^(n-1)."""
    assert balance.effective_numbers([0, 1, 2, 3], 0.5) == [0, 1, 1.5, 1.75]
    assert balance.effective_numbers([0, 1, 500], 0.0) == [0, 1, 1]
    series = [sum(0.999**power for power in range(count)) for count in (1, 10, 5000)]
    assert balance.effective_numbers([1, 10, 5000], 0.999) == pytest.approx(series, rel=1e-12)


@given(st.integers(1, 10**6), st.floats(0, 0.999999))
def test_an_effective_number_lies_between_one_and_the_count(count: int, beta: float) -> None:
    (effective,) = balance.effective_numbers([count], beta)
    assert 1 - 1e-9 <= effective <= min(count, 1 / (1 - beta)) * (1 + 1e-9)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8).filter(any))
def test_weights_are_scikit_learns_balanced_ones(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    present = np.unique(labels)
    weights = balance.class_weights(counts)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(np.array(weights)[present], expected, rtol=1e-12)
    assert all(weight == 0 for weight, count in zip(weights, counts, strict=True) if count == 0)
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)


def test_weights_of_nothing_are_nought() -> None:
    assert balance.class_weights([0, 0, 0]) == [0, 0, 0]
    assert balance.class_weights([]) == []


def test_a_summary_names_the_classes() -> None:
    told = balance.summary([2, 1, 0], CLASSES, effective_beta=0.5)
    assert told == {
        "samples": 3,
        "counts": {"a": 2, "b": 1, "c": 0},
        "imbalance_ratio": 2.0,
        "normalised_entropy": round((math.log(3) - 2 / 3 * math.log(2)) / math.log(3), 6),
        "effective_numbers": {"a": 1.5, "b": 1.0, "c": 0.0},
        "class_weights": {"a": 0.75, "b": 1.5, "c": 0.0},
    }


def test_a_summary_of_nothing_has_no_measures() -> None:
    told = balance.summary([0, 0, 0], CLASSES, effective_beta=0.5)
    assert told["samples"] == 0
    assert told["imbalance_ratio"] is told["normalised_entropy"] is None


def test_the_report_counts_each_split(samples: pd.DataFrame) -> None:
    report = balance_report(samples, CLASSES, effective_beta=0.9)
    assert list(report) == ["train", "val"]
    train = report["train"]
    assert isinstance(train, dict)
    assert train["counts"] == {"a": 5, "b": 1, "c": 0}
    assert (train["samples"], train["videos"], train["shards"]) == (6, 2, 2)
    assert train["class_weights"] == balance.summary([5, 1, 0], CLASSES, effective_beta=0.9)["class_weights"]


def test_every_plot_counts_every_sample_once(samples: pd.DataFrame) -> None:
    plots = balance_plots(samples, CLASSES)
    assert set(plots) == {"class_balance", "video_balance", "shard_balance"}
    for plot in plots.values():
        table = pd.DataFrame(plot.rows)
        assert list(table.columns) == list(plot.columns)
        assert table["samples"].sum() == len(samples)
        totals = table.groupby(["split", "class"])["samples"].sum()
        assert totals["train", "a"] == 5 and totals["val", "b"] == 3 and totals["val", "c"] == 0


def test_a_plot_has_a_row_for_every_class_of_every_group(samples: pd.DataFrame) -> None:
    rows = {
        (row["video"], row["class"]): row["samples"] for row in balance_plots(samples, CLASSES)["video_balance"].rows
    }
    counts = {"v1": (5, 0, 0), "v2": (0, 1, 0), "v3": (0, 3, 0)}
    assert rows == {(v, c): n for v, line in counts.items() for c, n in zip(CLASSES, line, strict=True)}


def test_class_counts_are_those_of_numpy(samples: pd.DataFrame) -> None:
    assert class_counts(samples, 3) == np.bincount(samples["label"], minlength=3).tolist()
    assert class_counts(samples.iloc[:0], 3) == [0, 0, 0]
