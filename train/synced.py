"""Batch normalisation over the shares of all ranks, and without touching its running statistics."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over ranks, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    @once_differentiable
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.clone()
    dist.all_reduce(total)
    return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """What `torch.nn.SyncBatchNorm` is on GPUs, for any device: mean and variance of the batch of all ranks.

    In evaluation, and where one process trains alone, it is `BatchNorm2d`. A rank's share may be empty.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises B x C x H x W; computed in float32 (float64 stays), given back in the input's type."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        full = input if input.dtype == torch.float64 else input.float()
        sums_c, squares_c = full.sum((0, 2, 3)), full.square().sum((0, 2, 3))
        count = full.new_tensor([full.numel() // full.shape[1]])
        total: Tensor = _Sum.apply(torch.cat([sums_c, squares_c, count]))
        sums_c, squares_c, count = torch.split(total, [len(sums_c), len(sums_c), 1])
        mean_c = sums_c / count
        variance_c = (squares_c / count - mean_c.square()).clamp_min(0)
        if self.track_running_stats:
            self._remember(mean_c.detach(), variance_c.detach() * count / (count - 1).clamp_min(1))
        scale_c = self.weight * (variance_c + self.eps).rsqrt()
        shift_c = self.bias - mean_c * scale_c
        return torch.addcmul(shift_c[:, None, None], full, scale_c[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean_c: Tensor, variance_c: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        momentum = 0.0 if self.momentum is None else self.momentum
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean_c, momentum)
        self.running_var.lerp_(variance_c, momentum)


def synced(network: nn.Module, *, device: str) -> nn.Module:
    """The network with every `BatchNorm2d` seeing the batch of all ranks; parameters and buffers are the same ones."""
    if device == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d
    return network


@contextlib.contextmanager
def statistics_untouched(networks: nn.Module) -> Iterator[None]:
    """In training mode, lets batch normalisation normalise as ever and remember nothing."""
    norms = [module for module in networks.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
