import hashlib

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from train.noise import NoiseKind, NoiseUnit, noisy_labels

CLASSES = 7
KINDS: list[NoiseKind] = ["symmetric", "pair"]
UNITS: list[NoiseUnit] = ["frame", "segment", "video"]


def trials(count: int, frames: int = 60, seed: int = 0) -> pd.DataFrame:
    """Trials of runs of 4 to 15 frames of one label; consecutive runs differ."""
    generator = np.random.default_rng(seed)
    rows = []
    for trial in range(count):
        label = int(generator.integers(CLASSES))
        labels: list[int] = []
        while len(labels) < frames:
            label = (label + int(generator.integers(1, CLASSES))) % CLASSES
            labels += [label] * int(generator.integers(4, 16))
        rows += [(f"video/{trial}_left", index, label) for index, label in enumerate(labels[:frames])]
    return pd.DataFrame(rows, columns=["trial", "frame_index", "label"])


def noisy(
    samples: pd.DataFrame, kind: NoiseKind, unit: NoiseUnit, *, rate: float = 0.4, seed: int = 0
) -> NDArray[np.int64]:
    return noisy_labels(samples, kind=kind, rate=rate, unit=unit, seed=seed, classes=CLASSES)


def runs(samples: pd.DataFrame) -> NDArray[np.int64]:
    """The run that each row belongs to, of rows sorted by trial and frame."""
    changed = (samples[["trial", "label"]] != samples[["trial", "label"]].shift()).any(axis=1)
    return np.cumsum(changed.to_numpy(np.int64))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_units_flip_at_the_rate(kind: NoiseKind, unit: NoiseUnit, rate: float) -> None:
    samples = trials(400, seed=1)
    flipped = noisy(samples, kind, unit, rate=rate) != samples["label"]
    keys = {"frame": samples.index.to_numpy(), "segment": runs(samples)}
    grouped = flipped.groupby([samples["trial"], samples["label"]] if unit == "video" else keys[unit])
    assert (grouped.nunique() == 1).all()
    units = grouped.first()
    assert abs(units.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(units))


@pytest.mark.parametrize("unit", UNITS)
def test_symmetric_noise_spreads_over_all_other_classes(unit: NoiseUnit) -> None:
    samples = trials(400, seed=2)
    labels = noisy(samples, "symmetric", unit, rate=1)
    shares = np.zeros((CLASSES, CLASSES))
    np.add.at(shares, (samples["label"].to_numpy(), labels), 1)
    shares /= shares.sum(1, keepdims=True)
    assert (np.diag(shares) == 0).all()
    others = shares[~np.eye(CLASSES, dtype=bool)]
    np.testing.assert_allclose(others, 1 / (CLASSES - 1), atol=0.07)


@pytest.mark.parametrize("unit", UNITS)
def test_pair_noise_is_the_next_class(unit: NoiseUnit) -> None:
    samples = trials(20)
    np.testing.assert_array_equal(noisy(samples, "pair", unit, rate=1), (samples["label"] + 1) % CLASSES)


@pytest.mark.parametrize("unit", ["segment", "video"])
def test_the_samples_of_a_unit_become_one_class(unit: NoiseUnit) -> None:
    samples = trials(50)
    labels = pd.Series(noisy(samples, "symmetric", unit))
    keys = [samples["trial"], samples["label"]] if unit == "video" else runs(samples)
    assert (labels.groupby(keys).nunique() == 1).all()


@pytest.mark.parametrize("unit", UNITS)
def test_same_arguments_same_noise_and_nothing_is_changed(unit: NoiseUnit) -> None:
    samples = trials(20)
    before = samples.copy()
    np.random.seed(1)
    first = noisy(samples, "symmetric", unit)
    np.random.seed(2)
    np.testing.assert_array_equal(first, noisy(samples, "symmetric", unit))
    pd.testing.assert_frame_equal(samples, before)
    assert first.dtype == np.int64
    assert (noisy(samples, "symmetric", unit, seed=1) != first).any()


@pytest.mark.parametrize("unit", UNITS)
def test_the_order_of_rows_does_not_matter(unit: NoiseUnit) -> None:
    samples = trials(20)
    shuffled = samples.sample(frac=1, random_state=0)
    expected = pd.Series(noisy(samples, "symmetric", unit), index=samples.index)
    np.testing.assert_array_equal(noisy(shuffled, "symmetric", unit), expected[shuffled.index])


@pytest.mark.parametrize("unit", ["frame", "video"])
def test_frames_and_videos_do_not_depend_on_the_other_samples(unit: NoiseUnit) -> None:
    samples = trials(20)
    some = samples.sample(frac=0.3, random_state=0)
    expected = noisy(samples, "symmetric", unit)[some.index]
    np.testing.assert_array_equal(noisy(some, "symmetric", unit), expected)


def test_segments_do_not_depend_on_the_stride_nor_on_other_trials() -> None:
    samples = trials(20)
    starts = samples.groupby(runs(samples))["frame_index"].transform("first")
    strided = samples[(samples["frame_index"] - starts) % 3 == 0]
    expected = noisy(samples, "symmetric", "segment")
    np.testing.assert_array_equal(noisy(strided, "symmetric", "segment"), expected[strided.index])
    half = samples[samples["trial"].isin(samples["trial"].unique()[::2])]
    np.testing.assert_array_equal(noisy(half, "symmetric", "segment"), expected[half.index])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_more_noise_keeps_the_flips_of_less(kind: NoiseKind, unit: NoiseUnit) -> None:
    samples = trials(50)
    little, much = noisy(samples, kind, unit, rate=0.2), noisy(samples, kind, unit, rate=0.6)
    flipped = little != samples["label"]
    np.testing.assert_array_equal(little[flipped], much[flipped])


@pytest.mark.parametrize("unit", UNITS)
def test_without_noise_labels_stay(unit: NoiseUnit) -> None:
    samples = trials(5)
    settings: list[tuple[NoiseKind, float]] = [
        ("none", 0.0),
        ("none", 0.5),
        ("symmetric", 0.0),
        ("pair", 0.0),
    ]
    for kind, rate in settings:
        found = noisy_labels(samples, kind=kind, rate=rate, unit=unit, seed=0, classes=CLASSES)
        np.testing.assert_array_equal(found, samples["label"])
    assert noisy(samples[:0], "symmetric", unit).shape == (0,)


def test_values_are_the_same_on_every_machine() -> None:
    rows = [("a", 0, 0), ("a", 9, 1), ("ü", 2, 2), ("b", 1, 2)]
    samples = pd.DataFrame(rows, columns=["trial", "frame_index", "label"])
    expected = []
    for trial, frame, label in rows:
        digest = hashlib.sha256(f"5/frame/{frame}/{label}/{trial}".encode()).digest()
        share = (int.from_bytes(digest[8:16], "big") >> 11) / 2**53
        expected.append((label + 1 + int(share * (CLASSES - 1))) % CLASSES)
    assert noisy(samples, "symmetric", "frame", rate=1, seed=5).tolist() == expected
    assert noisy(samples, "symmetric", "frame", rate=1, seed=0).tolist() == [1, 2, 0, 6]


@pytest.mark.parametrize(
    ("rate", "classes", "word"),
    [(1.2, 7, "rate"), (0.2, 3, "labels"), (0.2, 1, "labels")],
)
def test_what_is_out_of_range_is_refused(rate: float, classes: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        noisy_labels(trials(5), kind="symmetric", rate=rate, unit="frame", seed=0, classes=classes)


MATRIX = np.array([[0.6, 0.4, 0, 0, 0, 0, 0], [0.1, 0.8, 0.1, 0, 0, 0, 0], *np.eye(CLASSES)[2:]])


@pytest.mark.parametrize("unit", UNITS)
def test_confusion_follows_the_rows_of_the_matrix(unit: NoiseUnit) -> None:
    samples = trials(1500, seed=3)
    found = noisy_labels(samples, kind="confusion", rate=0, unit=unit, seed=0, classes=CLASSES, matrix_cc=MATRIX)
    shares = np.zeros((CLASSES, CLASSES))
    np.add.at(shares, (samples["label"].to_numpy(), found), 1)
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, MATRIX, atol=0.06)
    assert (shares[MATRIX == 0] == 0).all()
    keys = {"frame": samples.index.to_numpy(), "segment": runs(samples)}
    groups = [samples["trial"], samples["label"]] if unit == "video" else keys[unit]
    assert (pd.Series(found).groupby(groups).nunique() == 1).all()


def test_a_confusion_without_confusion_leaves_labels() -> None:
    samples = trials(20)
    found = noisy_labels(
        samples, kind="confusion", rate=0, unit="segment", seed=0, classes=CLASSES, matrix_cc=np.eye(CLASSES)
    )
    np.testing.assert_array_equal(found, samples["label"])


def test_listed_labels_replace_true_ones_where_there_are_any() -> None:
    samples = trials(1)
    listed = np.full(len(samples), -1)
    listed[[3, 9]] = [6, 0]
    found = noisy_labels(samples, kind="list", rate=0, unit="frame", seed=0, classes=CLASSES, listed=listed)
    assert found[[3, 9]].tolist() == [6, 0]
    others = np.delete(np.arange(len(samples)), [3, 9])
    np.testing.assert_array_equal(found[others], samples["label"].to_numpy()[others])
