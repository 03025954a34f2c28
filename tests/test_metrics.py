import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score  # type: ignore[import-untyped]

from train.metrics import (
    Intervals,
    agreement,
    batch_averaged_f1,
    bootstrap_interval,
    confusion,
    expected_calibration_error,
    scores,
)

Ints = NDArray[np.int64]


def cases() -> list[tuple[Ints, Ints, int]]:
    """Random labels and predictions; in many of them classes are absent from one side or from both."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(40):
        classes, samples = int(generator.integers(2, 9)), int(generator.integers(1, 30))
        used = generator.integers(0, classes, size=(2, 3))
        labels, predictions = (generator.choice(row, size=samples) for row in used)
        found.append((labels, predictions, classes))
    return found


@pytest.mark.parametrize(("labels", "predictions", "classes"), cases())
def test_scores_equal_scikit_learn(labels: Ints, predictions: Ints, classes: int) -> None:
    matrix = confusion(labels, predictions, classes)
    every = list(range(classes))
    np.testing.assert_array_equal(matrix, confusion_matrix(labels, predictions, labels=every))
    found = scores(matrix)
    assert found.f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert found.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert found.score == pytest.approx(0.67 * found.f1 + 0.33 * found.accuracy)
    per_class = f1_score(labels, predictions, average=None, labels=every, zero_division=0)
    np.testing.assert_allclose(found.f1_per_class, per_class)


def test_hand_values() -> None:
    matrix = confusion([0, 0, 1, 1], [0, 1, 1, 1], 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    found = scores(matrix)
    assert found.f1_per_class == pytest.approx((2 / 3, 4 / 5, 0))
    assert found.f1 == pytest.approx(11 / 15)
    assert found.accuracy == 0.75
    assert found.score == pytest.approx(0.67 * 11 / 15 + 0.33 * 0.75)


def test_published_scores_follow_from_their_f1_and_accuracy() -> None:
    assert pytest.approx(0.4814, abs=5e-4) == 0.67 * 0.4040 + 0.33 * 0.6378


@pytest.mark.parametrize(
    ("labels", "predictions", "word"),
    [
        ([0, 1], [0], "1-d"),
        ([[0]], [[0]], "1-d"),
        ([0, 3], [0, 0], "labels must be at least 0 and below 3"),
        ([0, 1], [0, -1], "predictions must be at least 0 and below 3"),
        ([0.0, 1.0], [0, 1], "labels must be whole numbers"),
    ],
)
def test_confusion_refuses_what_does_not_fit(labels: list[int], predictions: list[int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        confusion(labels, predictions, 3)


def test_scores_need_samples_and_a_square() -> None:
    with pytest.raises(ValueError, match="no samples"):
        scores(confusion([], [], 3))
    with pytest.raises(ValueError, match="square"):
        scores(np.ones((2, 3), dtype=np.int64))


@pytest.mark.parametrize("batch", [3, 7, 128, 1000])
def test_batch_averaged_f1_is_the_mean_over_batches(batch: int) -> None:
    generator = np.random.default_rng(batch)
    labels, predictions = generator.integers(0, 7, size=(2, 150))
    batches = [slice(start, start + batch) for start in range(0, 150, batch)]
    sizes = [len(labels[part]) for part in batches]
    expected = [f1_score(labels[part], predictions[part], average="macro") for part in batches]
    assert batch_averaged_f1(labels, predictions, batch=batch) == pytest.approx(np.average(expected, weights=sizes))


def test_batch_averaged_f1_refuses_nothing_to_average() -> None:
    with pytest.raises(ValueError, match="no samples"):
        batch_averaged_f1([], [], batch=8)
    with pytest.raises(ValueError, match="batch"):
        batch_averaged_f1([0], [0], batch=0)


def interval_of(labels: Ints, predictions: Ints, groups: NDArray[np.generic], seed: int = 3) -> Intervals:
    return bootstrap_interval(labels, predictions, groups, classes=4, resamples=60, level=0.9, seed=seed)


def videos(seed: int, samples: int = 120) -> tuple[Ints, Ints, NDArray[np.str_]]:
    generator = np.random.default_rng(seed)
    groups = np.array(["b", "a-1", "c", "d", "é"])[np.minimum(generator.geometric(0.4, samples) - 1, 4)]
    labels = generator.integers(0, 4, samples)
    predictions = np.where(generator.random(samples) < 0.6, labels, generator.integers(0, 4, samples))
    return labels, predictions, groups


@pytest.mark.parametrize("seed", range(3))
def test_bootstrap_equals_a_naive_loop_over_the_same_draws(seed: int) -> None:
    labels, predictions, groups = videos(seed)
    names = np.unique(groups)
    draws = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=60)
    rows = []
    for counts in draws:
        drawn = np.repeat(names, counts)
        places = np.concatenate([np.flatnonzero(groups == name) for name in drawn])
        f1 = f1_score(labels[places], predictions[places], average="macro")
        accuracy = accuracy_score(labels[places], predictions[places])
        rows.append((f1, accuracy, 0.67 * f1 + 0.33 * accuracy))
    lows, highs = np.quantile(rows, [0.05, 0.95], axis=0)
    found = interval_of(labels, predictions, groups)
    np.testing.assert_allclose([found.f1, found.accuracy, found.score], np.stack([lows, highs], axis=1))


def test_bootstrap_depends_neither_on_the_order_nor_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, predictions, groups = videos(5)
    order = np.random.default_rng(0).permutation(len(labels))
    whole = interval_of(labels, predictions, groups)
    assert interval_of(labels[order], predictions[order], groups[order]) == whole
    monkeypatch.setattr("train.metrics._CELLS", 300)
    assert interval_of(labels, predictions, groups) == whole
    assert interval_of(labels, predictions, groups, seed=4) != whole


def test_bootstrap_of_one_video_has_no_width() -> None:
    labels, predictions, _ = videos(6)
    found = interval_of(labels, predictions, np.zeros(len(labels)))
    value = scores(confusion(labels, predictions, 4))
    assert found.f1 == (value.f1, value.f1)
    assert found.accuracy == (value.accuracy, value.accuracy)
    assert found.score == (value.score, value.score)


def test_bootstrap_refuses_what_does_not_fit() -> None:
    labels, predictions, groups = videos(7)
    with pytest.raises(ValueError, match="groups"):
        interval_of(labels, predictions, groups[:-1])
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(labels, predictions, groups, classes=4, resamples=10, level=1, seed=0)
    with pytest.raises(ValueError, match="no samples"):
        interval_of(labels[:0], predictions[:0], groups[:0])


def test_calibration_error_of_hand_made_bins() -> None:
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]
    assert expected_calibration_error(probabilities, [0, 1, 0, 1]) == pytest.approx((0.8 + 0.8) / 4)


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_calibration_error_equals_a_naive_loop(bins: int) -> None:
    generator = np.random.default_rng(bins)
    probabilities = generator.dirichlet(np.full(5, 0.4), size=200)
    labels = generator.integers(0, 5, 200)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected)


def test_calibration_error_of_certainty() -> None:
    assert expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert expected_calibration_error(np.eye(3), [1, 2, 0]) == 1


@pytest.mark.parametrize("wrong", [[0.5, 0.5], [[1.5, -0.5]], [[np.nan, 1.0]], np.zeros((0, 3))])
def test_calibration_error_refuses_what_is_no_probability(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"probabilities|no samples"):
        expected_calibration_error(np.asarray(wrong), [0])


def test_agreement_counts_the_largest_group() -> None:
    three = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 2, 0]]
    assert agreement(three) == (0.25, 0.5, 0.25)
    assert agreement([[0, 0], [0, 1], [1, 1], [1, 2]]) == (0, 1, 0, 0)
    assert agreement([[0, 1, 2]]) == (1,)
    with pytest.raises(ValueError, match="K networks"):
        agreement([0, 1, 2])
