"""Shards to batches: an order by (seed, epoch), and pictures decoded and augmented in any number of processes.

Positions of samples, not files, are dealt out, so that an epoch shows every sample exactly once whatever the number of
shards, ranks and workers (docs/decisions/005).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.contract import UserError
from pipeline.files import digest_of
from pipeline.images import Image
from pipeline.shards.joined import JoinedReader
from pipeline.shards.reading import ShardReader
from pipeline.streaming.feed import Feed
from train import loader_processes
from train.augment import Augment, resize

_WINDOW = 4
"""Shards whose samples are shuffled together; samples were already shuffled over all shards when they were written."""

_PREFETCHED = 2
"""Batches that each loader process works ahead."""

_SEED_DIGITS = 16
"""Of a hexadecimal digest: 64 bits."""


class Batch(NamedTuple):
    """`pictures_bchw` are uint8 in channels-last memory; `positions_b` are places in the split's sample table."""

    pictures_bchw: Tensor
    labels_b: Tensor
    positions_b: Tensor


def epoch_windows(shards: NDArray[np.object_], *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """All positions in a random order, in windows: shards shuffled, then the samples of a few shards together.

    Args:
        shards: the shard of each position, as in the sample table (shards are contiguous).
        seed: of the run.
        epoch: from 0.
    """
    generator = np.random.default_rng([seed, epoch])
    names, begins = np.unique(shards, return_index=True)
    ends = np.append(np.sort(begins)[1:], len(shards))
    blocks = [np.arange(begin, end) for begin, end in zip(np.sort(begins), ends, strict=True)]
    shuffled = [blocks[block] for block in generator.permutation(len(names))]
    windows = [np.concatenate(shuffled[begin : begin + _WINDOW]) for begin in range(0, len(shuffled), _WINDOW)]
    return [generator.permutation(window) for window in windows]


def epoch_order(shards: NDArray[np.object_], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The windows of an epoch one after the other: every position once."""
    return np.concatenate(epoch_windows(shards, seed=seed, epoch=epoch))


def oversampled(
    windows: list[NDArray[np.int64]], labels: NDArray[np.int64], *, seed: int, epoch: int, count: int | None = None
) -> NDArray[np.int64]:
    """As many positions as before, or `count`, with every class that occurs equally frequent, window after window.

    A rare class repeats its samples, each equally often but for one; a frequent one shows a random part of its samples.
    Shuffled over all windows, every shard would be read all the time (docs/decisions/060).
    """
    generator = np.random.default_rng([seed, epoch, 1])
    order = np.concatenate(windows)
    classes = np.unique(labels[order])
    window_of = np.empty(len(labels), np.int64)
    window_of[order] = np.repeat(np.arange(len(windows)), [len(window) for window in windows])
    count = len(order) if count is None else count
    quotas = [count * (i + 1) // len(classes) - count * i // len(classes) for i in range(len(classes))]
    drawn = []
    for label, quota in zip(classes, quotas, strict=True):
        members = generator.permutation(order[labels[order] == label])
        drawn.append(np.tile(members, -(-quota // len(members)))[:quota])
    mixed = generator.permutation(np.concatenate(drawn))
    return mixed[np.argsort(window_of[mixed], kind="stable")]


def split_batches(order: NDArray[np.int64], *, batch_size: int, iterations: int | None) -> list[NDArray[np.int64]]:
    """Cuts an order into batches of nearly equal size, none larger than `batch_size`.

    Args:
        order: positions of one epoch.
        batch_size: largest batch.
        iterations: so many full batches instead, going through the order again and again as needed.
    """
    if iterations is None:
        return np.array_split(order, -(-len(order) // batch_size))
    needed = iterations * batch_size
    return np.array_split(np.tile(order, -(-needed // len(order)))[:needed], iterations)


@dataclass(kw_only=True)
class Faces(Dataset[Batch]):
    """Batches of decoded faces by (epoch, positions), augmented if there is an `augment`."""

    reader: ShardReader | JoinedReader
    labels: NDArray[np.int64]
    image_size: int
    seed: int
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, place: tuple[int, NDArray[np.int64]]) -> Batch:
        """The batch of these positions, which may be none."""
        epoch, positions = place
        pictures = np.empty((len(positions), self.image_size, self.image_size, 3), np.uint8)
        keys = self.reader.keys(positions)
        for picture, position, key in zip(pictures, positions.tolist(), keys, strict=True):
            picture[:] = self._face(epoch, position, key)
        self.reader.rest()
        return Batch(
            torch.from_numpy(pictures).permute(0, 3, 1, 2),
            torch.from_numpy(self.labels[positions]),
            torch.from_numpy(positions),
        )

    def _face(self, epoch: int, position: int, key: str) -> Image:
        picture = resize(self.reader.picture(position), self.image_size)
        if self.augment is None:
            return picture
        return self.augment(picture, int(digest_of(self.seed, epoch, key)[:_SEED_DIGITS], 16))


@dataclass(frozen=True)
class _Told(Dataset[Batch | UserError]):
    """Faces whose errors come back as values: torch would wrap one that crosses processes in a traceback."""

    faces: Faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, place: tuple[int, NDArray[np.int64]]) -> Batch | UserError:
        try:
            return self.faces[place]
        except UserError as error:
            return error


class _Plan:
    """The batches of the epoch that comes next; a sampler that persistent workers can be fed from.

    A streamed batch is not handed out before its shards are there.
    """

    def __init__(self, feed: Feed | None) -> None:
        self.batches: list[tuple[int, NDArray[np.int64]]] = []
        self._feed = feed

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        for number, batch in enumerate(self.batches):
            if self._feed is not None:
                self._feed.wait(number)
            yield batch

    def __len__(self) -> int:
        return len(self.batches)


class Stream:
    """Batches of one split; worker processes are kept from epoch to epoch and never change what comes out.

    Args:
        faces: of the split.
        workers: processes that decode and augment; 0: this one.
        feed: what brings the shards, if they are streamed.
    """

    def __init__(self, faces: Faces, *, workers: int, feed: Feed | None = None) -> None:
        self._faces, self._feed = faces, feed
        self._in_flight = workers * _PREFETCHED
        if workers:
            loader_processes.end_at_exit()
        self._plan = _Plan(feed)
        self._loader: DataLoader[Batch | UserError] = DataLoader(
            _Told(faces),
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,  # whose parent is the trainer, see `prepare`
            prefetch_factor=_PREFETCHED if workers else None,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=loader_processes.prepare,
            generator=torch.Generator(),  # its own: a loader that starts must not move the random state of training
        )

    def batches(
        self, epoch: int, positions: list[NDArray[np.int64]], *, together: list[NDArray[np.int64]] | None = None
    ) -> Iterator[Batch]:
        """Decodes these batches of one epoch, in order.

        Args:
            epoch: from 0.
            positions: of the samples of each batch.
            together: what all ranks read for each of them, if they are several: streamed shards are kept for all.

        Raises:
            UserError: if a sample cannot be read, or a loader process was killed.
        """
        self._plan.batches = [(epoch, batch) for batch in positions]
        if self._feed is not None:
            own, all_ranks = (self._shards(each) for each in (positions, together or positions))
            self._feed.begin(own, in_flight=self._in_flight, together=all_ranks)
        with loader_processes.telling_lost_ones(ConnectionError, EOFError):
            for number, batch in enumerate(self._loader):
                if isinstance(batch, UserError):
                    raise batch
                if self._feed is not None:
                    self._feed.done(number)
                yield batch

    def _shards(self, positions: list[NDArray[np.int64]]) -> list[Sequence[str]]:
        return [self._faces.reader.shards(batch) for batch in positions]


def _as_it_is(batch: Any) -> Any:
    """Batches come from `Faces` as they are used."""
    return batch
