"""The audit against known noise and readings by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from train.audit import Opinion, judged, pooled, stretches, suspects, suspicion

NAMES = ("a", "b", "c", "d")


def table(*trials: tuple[str, str]) -> pd.DataFrame:
    """Samples of trials whose labels are written as letters."""
    rows = [(name, name, frame, NAMES.index(letter)) for name, text in trials for frame, letter in enumerate(text)]
    return pd.DataFrame(rows, columns=["trial", "video", "frame_index", "label"])


def test_a_stretch_is_a_run_of_one_label_in_one_trial_in_time() -> None:
    samples = table(("y", "aabba"), ("x", "aa"))
    assert stretches(samples).tolist() == [1, 1, 2, 2, 3, 0, 0]
    mixed = samples.sample(frac=1, random_state=1)
    assert stretches(mixed).tolist() == pd.Series(stretches(samples)).loc[mixed.index].tolist()
    assert stretches(samples.iloc[:0]).tolist() == []


def test_means_are_over_the_stretch() -> None:
    found = pooled(np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]), np.array([1, 1, 0]))
    assert found.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]


def test_suspicion_has_its_ends_where_it_says() -> None:
    sure = np.eye(3)[[0, 1]]
    labels = np.array([0, 0])
    assert suspicion(sure, sure, labels).tolist() == [0.0, 1.0]
    torn = np.array([[0.5, 0.5, 0.0]])
    assert suspicion(torn, torn, np.array([1])).tolist() == [0.5]


def noisy_set(seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Trials of runs with one label; a fifth of the runs are relabelled; three networks see the truth dimly."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(generator.integers(0, 4, 200), 8)
    samples = pd.DataFrame({"trial": [f"t{n // 80}" for n in range(1600)], "frame_index": np.arange(1600) % 80})
    samples["video"] = samples["trial"]
    wrong_run = generator.random(200) < 0.2
    shift = np.repeat(np.where(wrong_run, generator.integers(1, 4, 200), 0), 8)
    samples["label"] = (truth + shift) % 4
    logits = generator.normal(scale=1.6, size=(3, 1600, 4)) + 1.2 * np.eye(4)[truth] + 0.8 * np.eye(4)[samples["label"]]
    return samples, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), shift > 0


@pytest.mark.parametrize("seed", range(3))
def test_stretches_are_told_better_than_single_frames(seed: int) -> None:
    samples, probabilities_knc, wrong = noisy_set(seed)
    found = judged(samples, Opinion.of(probabilities_knc))
    single = 1 - probabilities_knc.mean(0)[np.arange(1600), samples["label"]]
    ours, theirs = roc_auc_score(wrong, found["score"]), roc_auc_score(wrong, single)
    assert ours > theirs + 0.01 and ours > 0.9
    flags = found["flagged"].to_numpy()
    assert (flags & wrong).sum() / flags.sum() > 0.7 and (flags & wrong).sum() / wrong.sum() > 0.3


def test_suspects_are_stretches_in_the_order_of_suspicion() -> None:
    samples, probabilities_knc, _ = noisy_set(0)
    opinion = Opinion.of(probabilities_knc)
    found = judged(samples, opinion)
    listed = suspects(samples, opinion, found, dataset="demo", classes=NAMES)
    assert listed["score"].is_monotonic_decreasing and listed["samples"].sum() == found["flagged"].sum()
    for _, row in listed.head(5).iterrows():
        own = samples[
            (samples["trial"] == row["trial"]) & samples["frame_index"].between(row["first_frame"], row["last_frame"])
        ]
        assert {NAMES[label] for label in own["label"]} == {row["given"]} != {row["suggested"]}
        mean = opinion.probabilities_nc[own.index].mean(axis=0)
        assert row[list(NAMES)].tolist() == pytest.approx(mean.tolist())
        assert row["confidence"] == pytest.approx(mean[NAMES.index(row["suggested"])])
    mixed = np.random.default_rng(1).permutation(len(samples))
    other = Opinion.of(probabilities_knc[:, mixed])
    again = suspects(samples.iloc[mixed], other, judged(samples.iloc[mixed], other), dataset="demo", classes=NAMES)
    pd.testing.assert_frame_equal(again, listed)


def test_the_course_of_training_ranks_and_flags_where_it_is_known() -> None:
    samples = table(("x", "aabb"), ("y", "cc"))
    opinion = Opinion.of(np.full((2, 6, 4), 0.25) + 0.1 * np.eye(4)[[0, 0, 0, 0, 2, 2]])
    margin_n = np.array([0.9, 0.7, -0.5, np.nan, np.nan, np.nan], np.float32)
    last = judged(samples, opinion, margin_n)
    assert last["course"].tolist() == pytest.approx([0.1, 0.1, 0.75, 0.75, np.nan, np.nan], nan_ok=True)
    assert last["score"].equals(judged(samples, opinion)["score"]) and judged(samples, opinion)["course"].isna().all()
    found = judged(samples, opinion, -margin_n, ranking="epochs")
    assert found["score"].tolist() == pytest.approx([0.9, 0.9, 0.25, 0.25, *last["score"].tolist()[4:]])
    assert found["flagged"].tolist() == [True, True, False, False, False, False]
    assert (found["suggested"] != samples["label"])[:2].all()
