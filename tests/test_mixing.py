"""Several shard sets in one training: shares, every sample once, keys, ranks, resuming, and what is refused."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import UserError
from pipeline.shards.joined import JoinedReader
from pipeline.shards.reading import ShardReader
from tests.shard_sets import params, write_shard_set
from train.mixing import Source, interleaved, mixed_order, quotas, stretch
from train.ranks import Ranks
from train.run import Run, class_weights, epoch_batches, prepare, told_mix
from train.stream import split_batches

TINY = {"image_size": 32, "batch_size": 8, "networks": 1, "epochs": 2, "workers": 0, "device": "cpu"}


def names(samples: int) -> np.ndarray:
    return np.array([f"train-{position // 5:06d}.tar" for position in range(samples)], dtype=object)


def sources(sizes: list[int], shares: list[float]) -> list[Source]:
    """The first size is the main set's, which has what `shares` leave."""
    begins = np.cumsum([0, *sizes])
    whole = [1 - sum(shares), *shares]
    return [
        Source(name=str(number), share=share, positions=np.arange(size) + begins[number], shards=names(size))
        for number, (size, share) in enumerate(zip(sizes, whole, strict=True))
    ]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=4),
    weights=st.lists(st.integers(1, 20), min_size=3, max_size=3),
    needed=st.none() | st.integers(1, 200),
    epochs=st.integers(1, 4),
)
def test_an_epoch_has_the_main_set_once_and_the_others_in_proportion(
    sizes: list[int], weights: list[int], needed: int | None, epochs: int
) -> None:
    shares = [weight / 80 for weight in weights[: len(sizes) - 1]]
    mix = sources(sizes, shares)
    counts, total = quotas(mix, needed=needed), needed or sum(quotas(mix))
    exact = needed or sizes[0] / mix[0].share
    assert sum(counts) == total and min(counts) >= 0
    assert all(abs(count - share * exact) <= 1 for count, share in zip(counts[1:], shares, strict=True))
    shown = np.zeros(sum(sizes), int)
    for epoch in range(epochs):
        labels = np.zeros(sum(sizes), np.int64)
        order = mixed_order(mix, labels, needed=needed, even=False, seed=3, epoch=epoch)
        own = np.bincount(order, minlength=sum(sizes))
        assert [own[source.positions].sum() for source in mix] == counts
        if needed is None:
            assert (own[: sizes[0]] == 1).all()
        shown += own
    for source in mix:  # over all epochs, nothing a second time before everything was shown
        assert np.ptp(shown[source.positions]) <= 1


@given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=4), length=st.integers(1, 30), begin=st.integers(0, 90))
def test_every_stretch_of_an_epoch_has_the_shares(sizes: list[int], length: int, begin: int) -> None:
    begins = np.cumsum([0, *sizes])
    orders = [np.arange(first, end) for first, end in itertools.pairwise(begins)]
    order = interleaved(orders)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    window = order[begin : begin + length]
    for first, own in zip(begins, orders, strict=False):
        found = ((window >= first) & (window < first + len(own))).sum()
        share = len(own) / max(sum(sizes), 1)
        assert abs(found - share * len(window)) <= 1 + share * len(sizes)


def test_an_order_is_a_function_of_seed_and_epoch_and_goes_on_where_it_ended() -> None:
    shards = names(30)
    row = np.concatenate([stretch(shards, 7, seed=1, epoch=epoch) for epoch in range(9)])
    assert sorted(row[:30].tolist()) == sorted(row[30:60].tolist()) == list(range(30))
    assert np.array_equal(stretch(shards, 63, seed=1, epoch=0), row)
    assert not np.array_equal(stretch(shards, 30, seed=2, epoch=0), row[:30])


def test_evened_classes_are_even_in_every_set_and_shares_stay() -> None:
    mix = sources([40, 30], [0.5])
    labels = np.array([0] * 35 + [1] * 5 + [1] * 29 + [2])
    order = mixed_order(mix, labels, needed=None, even=True, seed=0, epoch=1)
    assert np.bincount(labels[order[order < 40]]).tolist() == [20, 20]
    assert np.bincount(labels[order[order >= 40]]).tolist() == [0, 20, 20]


@given(ranks=st.integers(1, 5), done=st.integers(0, 6), iterations=st.none() | st.integers(1, 9))
def test_ranks_share_a_mixed_epoch_without_loss_and_go_on_anywhere(
    ranks: int, done: int, iterations: int | None
) -> None:
    mix = sources([37, 11], [0.3])
    needed = None if iterations is None else 8 * iterations
    order = mixed_order(mix, np.zeros(48, np.int64), needed=needed, even=False, seed=1, epoch=2)
    batches = split_batches(order, batch_size=8, iterations=iterations)
    assert np.array_equal(np.concatenate(batches), order)
    for batch in batches[done:]:
        shares = [Ranks(rank=rank, size=ranks).share(batch) for rank in range(ranks)]
        assert np.array_equal(np.concatenate(shares), batch)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets demo, rafdb and eight, which has eight classes, below one folder."""
    root = tmp_path_factory.mktemp("sets")
    for name, samples, classes in (("demo", 24, 7), ("rafdb", 10, 7), ("eight", 9, 8)):
        written = write_shard_set(root / f"made-{name}", {"train": samples, "val": 8}, classes=classes)
        written.rename(root / name)
    return root


def mixed(sets: Path, **changes: object) -> Run:
    return prepare(params(**TINY | {"mix": {"rafdb": 0.25}} | changes), sets / "demo")


def test_a_mix_is_read_by_position_under_unique_keys(sets: Path) -> None:
    main, other = (ShardReader(sets / name, "train") for name in ("demo", "rafdb"))
    joined = JoinedReader(main, {"rafdb": other})
    assert len(joined) == 34
    assert joined.samples["key"].is_unique
    assert joined.samples["key"].tolist() == joined.keys(np.arange(34))
    assert joined.keys(np.arange(24)) == main.keys(np.arange(24))
    assert joined.key(24) == f"rafdb/{other.key(0)}"
    for position, reader, own in ((0, main, 0), (23, main, 23), (24, other, 0), (33, other, 9)):
        assert np.array_equal(joined.picture(position), reader.picture(own))


def test_what_is_given_for_the_main_set_does_not_change_in_a_mix(sets: Path) -> None:
    noisy = {"noise_kind": "symmetric", "noise_rate": 0.5, "noise_unit": "frame"}
    alone = prepare(params(**TINY | noisy), sets / "demo")
    run = mixed(sets, **noisy)
    assert np.array_equal(run.train.labels[:24], alone.train.labels)
    assert (run.train.labels[24:] != ShardReader(sets / "rafdb", "train").samples["label"]).any()
    shown = np.concatenate(epoch_batches(run, 0))
    assert np.array_equal(shown[shown < 24], np.concatenate(epoch_batches(alone, 0)))
    assert [int((batch >= 24).sum()) for batch in epoch_batches(run, 0)] == [2, 2, 2, 2]
    assert told_mix(run)[1].startswith("mix rafdb 25.0% asked, 25.0% given: 8 of an epoch's 32 samples; it has 10")
    assert told_mix(alone) == []


def test_class_weights_are_those_of_what_is_shown(sets: Path) -> None:
    weights = class_weights(mixed(sets, balance="class_weights"))
    assert weights is not None
    counts = np.array([4, 4, 4, 3, 3, 3, 3]) + 0.8 * np.array([2, 2, 2, 1, 1, 1, 1])
    np.testing.assert_allclose(weights.cpu().numpy(), counts.sum() / 7 / counts, rtol=1e-6)


def test_samples_that_are_held_out_count_neither_in_the_shares_nor_in_the_weights(sets: Path) -> None:
    asked = params(**TINY | {"mix": {"rafdb": 0.25}, "balance": "class_weights"})
    whole = prepare(asked, sets / "demo").train
    videos = whole.reader.samples["video"].astype(str)
    out = videos.iloc[0]
    run = prepare(asked, sets / "demo", held_out=[out])
    learned = np.flatnonzero(videos.to_numpy() != out)
    main = learned[learned < 24]
    shown = np.concatenate(epoch_batches(run, 0))
    assert 0 < len(main) < 24
    assert sorted(shown[shown < 24].tolist()) == main.tolist()
    others = round(len(main) / 3)
    assert (shown >= 24).sum() == others
    counts = np.bincount(whole.labels[main], minlength=7) + others / 10 * np.bincount(whole.labels[24:], minlength=7)
    weights = class_weights(run)
    assert weights is not None
    np.testing.assert_allclose(weights.cpu().numpy(), counts.sum() / 7 / counts, rtol=1e-6)


def test_a_mix_that_cannot_be_trained_on_is_refused_by_name(sets: Path) -> None:
    with pytest.raises(UserError, match=r"demo has no h\); build both with the same index\.classes"):
        mixed(sets, mix={"eight": 0.2})
    with pytest.raises(UserError, match=r"absent/manifest\.json not found"):
        mixed(sets, mix={"absent": 0.2})
