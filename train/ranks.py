"""Processes that train together: each holds all networks and a share of every batch.

Only what the networks say is exchanged before the loss, so that every rank computes the loss of the whole batch; then
the gradients of the shares add up to exactly that of one process (docs/decisions/031).
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from pipeline.contract import UserError
from train.launch import SUPERVISED

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)
"""A rank may wait so long for another: the first verifies the shards, reads a snapshot, scores the validation split."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of several processes this one is; alone, nothing is exchanged.

    Attributes:
        rank: this process, from 0.
        size: how many there are on all machines.
        local: this process among those of its machine, from 0: which GPU it takes.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def bounds(self, count: int) -> list[int]:
        """Where the share of each rank begins in `count` things, and where the last one ends; shares differ by one."""
        return [count * rank // self.size for rank in range(self.size + 1)]

    def share(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """This rank's part, which may be empty."""
        bounds = self.bounds(len(positions))
        return positions[bounds[self.rank] : bounds[self.rank + 1]]

    def joined(self, share: Tensor, count: int, *, dim: int) -> Tensor:
        """The shares of all ranks of `count` rows along `dim`, in rank order, without their history."""
        if self.size == 1:
            return share.detach()
        bounds = np.array(self.bounds(count))
        sizes = np.diff(bounds).tolist()
        rows = share.detach().movedim(dim, 0).contiguous()
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).movedim(0, dim)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by their sums over ranks; the bits are the same on every rank."""
        for tensor, total in self._reduced(list(tensors)):
            tensor.copy_(total)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors of floating point by their means over ranks; the bits are the same on every rank."""
        for tensor, total in self._reduced(list(tensors)):
            tensor.copy_(total / self.size)

    def largest(self, *numbers: float) -> list[float]:
        """The largest of each number over ranks."""
        if self.size == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return list(found.tolist())

    def everyone(self, value: T) -> list[T]:
        """The value of each rank, in rank order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def _reduced(self, tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Tensors with their sums, exchanged in one piece for each device and type."""
        if self.size == 1:
            return
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        for group in groups.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            for tensor, total in zip(group, torch.split(flat, [t.numel() for t in group]), strict=True):
                yield tensor, total.view(tensor.shape)


def ranks_from_environment() -> Ranks:
    """What torchrun, or `train.launch`, told this process."""
    return Ranks(
        rank=int(os.environ.get("RANK", "0")),
        size=int(os.environ.get("WORLD_SIZE", "1")),
        local=int(os.environ.get("LOCAL_RANK", "0")),
    )


@contextlib.contextmanager
def together(ranks: Ranks, *, device: str) -> Iterator[None]:
    """Connects the ranks for the block's length; another rank's end is a `UserError` of one line.

    Args:
        ranks: alone, nothing happens.
        device: `cpu` or `cuda`; tensors of a GPU are exchanged by NCCL, all others by gloo.
    """
    if ranks.size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        if SUPERVISED in os.environ:
            sys.exit(1)  # the supervisor says which rank it was
        raise UserError(
            f"rank {ranks.rank}: another rank ended, so this one ends too; its own message says why. "
            "Start again to go on where the last snapshot was taken"
        ) from None
    finally:
        dist.destroy_process_group()


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text or "Connection closed by peer" in text
