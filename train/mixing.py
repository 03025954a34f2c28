"""How several shard sets share an epoch: how much each shows, and in which order. Pure.

An epoch shows every sample of the main set once, and so much of the others that each has its share of the whole. What a
set of another size than its share shows goes on, from epoch to epoch, where the one before ended: every sample of it is
shown once before one is shown twice (docs/decisions/045).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from train.stream import epoch_order, epoch_windows, oversampled

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The training samples of one shard set among those of all sets, as far as they are learned from.

    Attributes:
        name: of the set.
        share: of what an epoch shows, in (0, 1]; those of all sources add up to 1.
        positions: its samples' among those of all sets, in stored order.
        shards: the shard of each of them (shards are contiguous).
    """

    name: str
    share: float
    positions: Positions
    shards: NDArray[np.object_]

    def of(self, learned_n: NDArray[np.bool_]) -> "Source":
        """What is left of it if only the samples of the mask, over those of all sets, are learned from."""
        kept = learned_n[self.positions]
        return replace(self, positions=self.positions[kept], shards=self.shards[kept])


def quotas(sources: Sequence[Source], *, needed: int | None = None) -> list[int]:
    """How many samples each source shows in an epoch.

    Args:
        sources: the main one first.
        needed: so many in all; None: each of the main source once, and of the others in proportion.
    """
    main, *others = sources
    total = len(main.shards) / main.share if needed is None else needed
    ends = np.rint(np.cumsum([0.0, *(source.share for source in others)]) * total).astype(int)
    return [len(main.shards) if needed is None else needed - int(ends[-1]), *np.diff(ends).tolist()]


def shown_counts(sources: Sequence[Source], labels: Positions, classes: int) -> list[float]:
    """How many samples of each class an epoch shows on average, where no class is favoured."""
    counts = np.zeros(classes)
    for source, quota in zip(sources, quotas(sources), strict=True):
        own = np.bincount(labels[source.positions], minlength=classes)
        counts += own * (quota / own.sum())
    return [float(count) for count in counts]


def mixed_order(
    sources: Sequence[Source], labels: Positions, *, needed: int | None, even: bool, seed: int, epoch: int
) -> Positions:
    """The positions that an epoch shows: a function of the sets, the shares, the seed and the epoch.

    Args:
        sources: the main one first.
        labels: of all positions.
        needed: as for `quotas`.
        even: whether the classes of each source are to be equally frequent.
        seed: of the run.
        epoch: from 0.
    """
    orders = []
    for source, count in zip(sources, quotas(sources, needed=needed), strict=True):
        if even:
            windows = epoch_windows(source.shards, seed=seed, epoch=epoch)
            own = oversampled(windows, labels[source.positions], seed=seed, epoch=epoch, count=count)
        else:
            own = stretch(source.shards, count, seed=seed, epoch=epoch)
        orders.append(source.positions[own])
    return interleaved(orders)


def stretch(shards: NDArray[np.object_], count: int, *, seed: int, epoch: int) -> Positions:
    """`count` positions: what follows those of the epochs before in an endless row of passes over all samples."""
    begin, size = epoch * count, len(shards)
    first = begin // size
    passes = [epoch_order(shards, seed=seed, epoch=number) for number in range(first, -(-(begin + count) // size))]
    row = np.concatenate([np.empty(0, np.int64), *passes])
    return row[begin - first * size :][:count]


def interleaved(orders: Sequence[Positions]) -> Positions:
    """All orders as one in which they are spread evenly, so that every batch has them in proportion."""
    places = np.concatenate([(np.arange(len(order)) + 0.5) / max(len(order), 1) for order in orders])
    return np.concatenate(orders)[np.argsort(places, kind="stable")]
