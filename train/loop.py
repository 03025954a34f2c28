"""One loop for every method: forward, losses, step; it never names a method."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from pipeline.contract import UserError
from train.methods import Given, Losses, Method
from train.networks import Networks
from train.stream import Batch
from train.tally import Tally, measures

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, of RGB in [0, 1]; people's ResNet checkpoints were trained with them."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and in what precision networks run."""

    device: torch.device
    bf16: bool

    @classmethod
    def choose(cls, *, device: str, precision: str) -> "Compute":
        """`auto` takes a GPU where there is one. Raises `UserError` if `cuda` is asked for and absent."""
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise UserError("device is cuda, but torch sees no GPU here; set device to auto or cpu")
        name = ("cuda" if available else "cpu") if device == "auto" else device
        return cls(device=torch.device(name), bf16=precision == "bf16")

    def place(self, networks: Networks) -> Networks:
        """The networks on the device, in channels-last memory; the same place gives the same figures."""
        return networks.to(self.device).to(memory_format=torch.channels_last)

    def inputs(self, pictures_bchw: Tensor) -> Tensor:
        """Bytes to normalised float32 on the device, in channels-last memory."""
        pictures = pictures_bchw.to(self.device, non_blocking=True).float().div_(255)
        mean = torch.tensor(MEAN, device=self.device)[:, None, None]
        std = torch.tensor(STD, device=self.device)[:, None, None]
        return pictures.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Bfloat16 where it was asked for, float32 otherwise."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def train_epoch(
    networks: Networks,
    method: Method,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    *,
    epoch: int,
    compute: Compute,
    class_weights_c: Tensor | None,
    name_samples: Callable[[Tensor], list[str]],
    on_batch: Callable[[float], None],
    truth_n: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Trains on every batch once.

    Args:
        networks: trained in place.
        method: gives the losses.
        batches: of one epoch.
        optimizer: over the parameters of the networks and of the method.
        epoch: from 0.
        compute: device and precision; losses are always float32.
        class_weights_c: for the supervision, or None.
        name_samples: keys of a batch's positions, for messages.
        on_batch: told each batch's loss.
        truth_n: true classes by position where given ones may be wrong, for measuring alone.

    Returns:
        Means over the samples by the names of `tally.measures`, and the epoch's seconds.

    Raises:
        UserError: before the step, if a loss is not finite.
    """
    networks.train()
    began, tally = time.monotonic(), Tally()
    for batch in batches:
        given = Given(
            labels_b=batch.labels_b.to(compute.device, non_blocking=True),
            positions_b=batch.positions_b.to(compute.device, non_blocking=True),
            epoch=epoch,
            class_weights_c=class_weights_c,
        )
        with compute.autocast():
            outputs = networks(method.views(compute.inputs(batch.pictures_bchw), given), method.needs)
        losses = method.losses(outputs, given)
        _require_finite(losses, epoch, batch, name_samples)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        outputs = outputs.detached()
        method.observe(outputs, given)
        tally.add(measures(losses, outputs, given, truth_n))
        on_batch(float(losses.total.detach()))
    return tally.means() | {"seconds": time.monotonic() - began}


def _require_finite(losses: Losses, epoch: int, batch: Batch, name_samples: Callable[[Tensor], list[str]]) -> None:
    if bool(torch.isfinite(losses.total)):
        return
    keys = name_samples(batch.positions_b)
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    raise UserError(
        f"the loss is {float(losses.total.detach())} in epoch {epoch} (batch of {', '.join(keys[:4])}{more}); "
        "no step was taken. Lower lr_backbone or lr_head, or set precision to float32"
    )


@torch.inference_mode()
def predict(networks: Networks, batches: Iterable[Batch], compute: Compute) -> tuple[Probabilities, NDArray[np.int64]]:
    """Softmax of every network, a student after the others, K x N x C; and the positions of the N samples."""
    networks.eval()
    parts: list[Tensor] = []
    positions: list[Tensor] = []
    for batch in batches:
        with compute.autocast():
            outputs = networks(compute.inputs(batch.pictures_bchw))
        parts.append(outputs.everyones_kbc.float().softmax(-1).cpu())
        positions.append(batch.positions_b)
    return torch.cat(parts, dim=1).numpy(), torch.cat(positions).numpy()


def in_order(samples: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Batches of positions as stored, for prediction."""
    for begin in range(0, samples, batch_size):
        yield np.arange(begin, min(begin + batch_size, samples))
