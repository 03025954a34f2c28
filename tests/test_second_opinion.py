"""Our readings of other people's rules against their own program."""

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from train.second_opinion import SCORES, confidently_wrong


def opinions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, 600)
    labels = np.where(generator.random(600) < 0.25, generator.integers(0, 5, 600), truth)
    logits = generator.normal(size=(600, 5)) + 2 * np.eye(5)[truth]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


@pytest.mark.parametrize("method", SCORES)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_cleanlabs(method: str, seed: int) -> None:
    probabilities_nc, labels = opinions(seed)
    theirs = get_label_quality_scores(labels, probabilities_nc, method=method)
    np.testing.assert_allclose(SCORES[method](probabilities_nc, labels), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_confident_learning_is_cleanlabs(seed: int) -> None:
    probabilities_nc, labels = opinions(seed)
    theirs = find_label_issues(labels, probabilities_nc, filter_by="confident_learning", n_jobs=1)
    ours = confidently_wrong(probabilities_nc, labels)
    assert ours.sum() > 50
    np.testing.assert_array_equal(ours, theirs)


def test_classes_without_labels_and_sure_networks_are_borne() -> None:
    sure = np.eye(4)[[0, 1, 1]]
    assert confidently_wrong(sure, np.array([0, 1, 0])).tolist() == [False, False, True]
    for score in SCORES.values():
        own = score(sure, np.array([0, 1, 0]))
        assert np.isfinite(own).all() and (own <= 1).all() and own[0] >= own[2]
