"""Order and batches: every sample exactly once, a function of (seed, epoch), whatever the number of workers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import UserError
from pipeline.files import digest_of
from pipeline.shards.reading import ShardReader
from tests.shard_sets import write_shard_set
from tests.training_runs import ROOT
from train.augment import Augment, resize
from train.ranks import Ranks
from train.stream import Batch, Faces, Stream, epoch_order, epoch_windows, oversampled, split_batches


def names(*sizes: int) -> np.ndarray:
    return np.array([f"train-{shard:06d}.tar" for shard, size in enumerate(sizes) for _ in range(size)], dtype=object)


@pytest.mark.parametrize("sizes", [(7,), (5, 5), (3, 1, 9, 2, 4, 4, 1), tuple([10] * 23)])
@pytest.mark.parametrize("seed", [0, 7])
def test_an_epoch_shows_every_sample_once(sizes: tuple[int, ...], seed: int) -> None:
    orders = [epoch_order(names(*sizes), seed=seed, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(sum(sizes)))
    if sum(sizes) > 6:
        assert not np.array_equal(orders[0], orders[1])


def test_an_order_depends_on_seed_and_epoch_alone() -> None:
    shards = names(30, 30)
    assert np.array_equal(epoch_order(shards, seed=3, epoch=5), epoch_order(shards, seed=3, epoch=5))
    assert not np.array_equal(epoch_order(shards, seed=3, epoch=5), epoch_order(shards, seed=4, epoch=5))


def test_samples_are_read_from_few_shards_at_a_time() -> None:
    shards = names(*[50] * 40)
    order = epoch_order(shards, seed=0, epoch=0)
    for begin in range(0, len(order), 200):
        assert len(set(shards[order[begin : begin + 200]])) <= 4


@pytest.mark.parametrize(("samples", "batch_size"), [(1, 16), (16, 16), (17, 16), (707, 16), (100, 7)])
def test_batches_cover_the_order_in_nearly_equal_parts(samples: int, batch_size: int) -> None:
    batches = split_batches(np.arange(samples), batch_size=batch_size, iterations=None)
    assert np.concatenate(batches).tolist() == list(range(samples))
    lengths = {len(batch) for batch in batches}
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("iterations", [1, 3, 40])
def test_so_many_iterations_are_full_batches(iterations: int) -> None:
    batches = split_batches(np.arange(20), batch_size=8, iterations=iterations)
    assert [len(batch) for batch in batches] == [8] * iterations
    counts = np.bincount(np.concatenate(batches), minlength=20)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("parts", [1, 4])
def test_oversampling_evens_the_classes_and_repeats_a_class_evenly(parts: int) -> None:
    labels = np.repeat([0, 1, 3], [60, 30, 3])
    windows = np.array_split(np.random.default_rng(0).permutation(93), parts)
    drawn = oversampled(windows, labels, seed=0, epoch=0)
    assert len(drawn) == 93
    assert np.bincount(labels[drawn], minlength=4).tolist() == [31, 31, 0, 31]
    rare = np.bincount(drawn, minlength=93)[labels == 3]
    assert rare.max() - rare.min() <= 1
    assert np.array_equal(drawn, oversampled(windows, labels, seed=0, epoch=0))
    assert not np.array_equal(drawn, oversampled(windows, labels, seed=0, epoch=1))


def test_oversampling_keeps_to_the_windows_and_every_class_to_all_of_them() -> None:
    generator = np.random.default_rng(0)
    labels, shards = generator.choice(3, 4000, p=(0.8, 0.15, 0.05)), names(*[200] * 20)
    windows = epoch_windows(shards, seed=0, epoch=0)
    drawn = oversampled(windows, labels, seed=0, epoch=0)
    window_of = np.empty(4000, np.int64)
    for number, window in enumerate(windows):
        window_of[window] = number
    assert (np.diff(window_of[drawn]) >= 0).all()
    for number in range(len(windows)):
        counts = np.bincount(labels[drawn[window_of[drawn] == number]], minlength=3)
        assert counts.min() > 0.4 * counts.max()


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    batch_size=st.integers(1, 40),
    ranks=st.integers(1, 9),
    iterations=st.none() | st.integers(1, 12),
    done=st.integers(0, 12),
)
def test_ranks_share_an_epoch_without_loss_and_go_on_anywhere(
    sizes: list[int], batch_size: int, ranks: int, iterations: int | None, done: int
) -> None:
    """Any number of shards, also fewer than ranks: as many batches for everybody, and together exactly the order."""
    order = epoch_order(names(*sizes), seed=1, epoch=2)
    batches = split_batches(order, batch_size=batch_size, iterations=iterations)
    shares = [[Ranks(rank=rank, size=ranks).share(batch) for batch in batches[done:]] for rank in range(ranks)]
    assert {len(share) for share in shares} == {max(0, len(batches) - done)}
    for batch, parts in zip(batches[done:], zip(*shares, strict=True), strict=True):
        assert np.array_equal(np.concatenate(parts), batch)
    if iterations is None:
        assert sorted(np.concatenate(batches).tolist()) == list(range(sum(sizes)))


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("set"), {"train": 40, "val": 12})


def a_stream(folder: Path, *, workers: int) -> Stream:
    reader = ShardReader(folder, "train")
    labels = reader.samples["label"].to_numpy(np.int64)
    return Stream(Faces(reader=reader, labels=labels, image_size=48, seed=5), workers=workers)


def batches(folder: Path, *, workers: int, epoch: int, augment: bool = True) -> list[Batch]:
    reader = ShardReader(folder, "train")
    labels = reader.samples["label"].to_numpy(np.int64)
    faces = Faces(
        reader=reader, labels=labels, image_size=48, seed=5, augment=Augment(original=False) if augment else None
    )
    order = epoch_order(reader.samples["shard"].to_numpy(object), seed=5, epoch=epoch)
    stream = Stream(faces, workers=workers)
    return list(stream.batches(epoch, split_batches(order, batch_size=16, iterations=None)))


def test_workers_never_change_what_comes_out(shard_set: Path) -> None:
    alone = batches(shard_set, workers=0, epoch=2)
    for workers in (1, 2):
        for mine, theirs in zip(alone, batches(shard_set, workers=workers, epoch=2), strict=True):
            assert torch.equal(mine.pictures_bchw, theirs.pictures_bchw)
            assert torch.equal(mine.labels_b, theirs.labels_b)
            assert torch.equal(mine.positions_b, theirs.positions_b)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, workers: int) -> None:
    folder = write_shard_set(tmp_path / "set", {"train": 12, "val": 2})
    stream = a_stream(folder, workers=workers)
    next(folder.glob("train-*.tar")).write_bytes(b"")
    with pytest.raises(UserError, match=r"train-0000\d\d\.tar") as caught:
        list(stream.batches(0, [np.arange(12)]))
    assert "\n" not in str(caught.value)


def run_on(shard_set: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """A program in a process of its own; the set is its only argument."""
    command = [sys.executable, "-c", code, str(shard_set)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_loader_processes_follow_the_trainer_however_python_starts_processes(shard_set: Path) -> None:
    """Python 3.14 starts them from a server unless it is told not to."""
    code = (
        "import multiprocessing, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from tests.test_stream import a_stream\n"
        "multiprocessing.set_start_method('forkserver')\n"
        "print(len(list(a_stream(Path(sys.argv[1]), workers=1).batches(0, [np.arange(9)] * 3))))\n"
    )
    done = run_on(shard_set, code)
    assert done.stdout == "3\n", done.stderr


def test_a_killed_loader_process_is_told_in_one_line(shard_set: Path) -> None:
    code = (
        "import sys, psutil, numpy as np\n"
        "from pathlib import Path\n"
        "from pipeline.contract import UserError\n"
        "from tests.test_stream import a_stream\n"
        "from train.loader_processes import telling_lost_ones\n"
        "stream = a_stream(Path(sys.argv[1]), workers=1)\n"
        "try:\n"
        "    with telling_lost_ones():\n"
        "        for number, batch in enumerate(stream.batches(0, [np.arange(9)] * 50)):\n"
        "            if number == 1:\n"
        "                psutil.Process().children()[0].kill()\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    done = run_on(shard_set, code)
    assert done.stdout.startswith("a process that decodes pictures was killed (out of memory?)"), done.stderr
    assert "Traceback" not in done.stderr


def test_more_workers_than_shards_and_empty_shares_lose_nothing(tmp_path: Path) -> None:
    reader = ShardReader(write_shard_set(tmp_path, {"train": 7, "val": 1}), "train")
    labels = reader.samples["label"].to_numpy(np.int64)
    stream = Stream(Faces(reader=reader, labels=labels, image_size=32, seed=0), workers=4)
    plan = split_batches(
        epoch_order(reader.samples["shard"].to_numpy(object), seed=0, epoch=0), batch_size=2, iterations=None
    )
    for rank in range(3):
        shares = [Ranks(rank=rank, size=3).share(batch) for batch in plan]
        decoded = list(stream.batches(0, shares))
        assert [batch.positions_b.tolist() for batch in decoded] == [share.tolist() for share in shares]
        assert all(len(batch.pictures_bchw) == len(batch.positions_b) for batch in decoded)


def test_labels_and_positions_belong_together(shard_set: Path) -> None:
    labels = torch.from_numpy(ShardReader(shard_set, "train").samples["label"].to_numpy(np.int64, copy=True))
    for batch in batches(shard_set, workers=0, epoch=0):
        assert torch.equal(batch.labels_b, labels[batch.positions_b])


def test_augmentation_differs_between_epochs(shard_set: Path) -> None:
    first, second = (
        {
            int(p): x
            for b in batches(shard_set, workers=0, epoch=e)
            for p, x in zip(b.positions_b, b.pictures_bchw, strict=True)
        }
        for e in (0, 1)
    )
    assert sum(torch.equal(first[position], second[position]) for position in first) < len(first) / 4


def test_pictures_are_channels_last_bytes(shard_set: Path) -> None:
    pictures = batches(shard_set, workers=0, epoch=0)[0].pictures_bchw
    assert pictures.dtype == torch.uint8
    assert pictures.shape[1:] == (3, 48, 48)
    assert pictures.is_contiguous(memory_format=torch.channels_last)


def test_without_augmentation_pictures_are_the_stored_ones(shard_set: Path) -> None:
    reader = ShardReader(shard_set, "train")
    for batch in batches(shard_set, workers=0, epoch=0, augment=False):
        for position, picture in zip(batch.positions_b, batch.pictures_bchw, strict=True):
            expected = resize(reader.picture(int(position)), 48)
            assert np.array_equal(picture.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("original", [False, True])
def test_augmentation_is_a_function_of_picture_and_seed(original: bool) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    one, other = Augment(original=original), Augment(original=original)
    seeds = [int(digest_of(number)[:16], 16) for number in range(200)]
    for seed in seeds[:20]:
        assert np.array_equal(one(picture, seed), other(picture, seed))
    flipped = sum(np.abs(one(picture, seed).astype(int) - picture).mean() > 60 for seed in seeds)
    assert 60 < flipped < 140 or original
