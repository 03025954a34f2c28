"""Where and in what precision networks run."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contract import UserError
from train.convolution import with_matrix_gradients
from train.half import has_bf16
from train.networks import Networks

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, of RGB in [0, 1]; people's ResNet checkpoints were trained with them."""

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Devices and precision.

    Attributes:
        devices: where the networks are: all on the first, or one after another on each (`placement: apart`). Batches,
            losses and what a method owns are on the first.
        half: the type that autocast uses, or None for float32 throughout.
    """

    devices: tuple[torch.device, ...]
    half: torch.dtype | None = None

    @classmethod
    def choose(cls, *, device: str, precision: str, index: int = 0, apart: int = 0) -> "Compute":
        """The devices that are asked for: `auto` takes a GPU where there is one.

        Args:
            device: `auto`, `cpu` or `cuda`.
            precision: `float32`, `bf16` or `fp16`.
            index: which GPU of this machine.
            apart: over so many GPUs the networks are spread; 0 keeps them together on the one of `index`.

        Raises:
            UserError: if `cuda` is asked for and absent, or fp16 without a GPU.
        """
        name = device_type(device)
        if name == "cpu" and precision == "fp16":
            raise UserError("precision fp16 needs a GPU; set precision to bf16 or float32")
        indices = range(apart) if apart else [index]
        devices = tuple(torch.device(name, i) if name == "cuda" else torch.device(name) for i in indices)
        return cls(devices=devices, half=_HALVES.get(precision))

    @property
    def device(self) -> torch.device:
        """The first device."""
        return self.devices[0]

    @property
    def is_emulated(self) -> bool:
        """Whether the networks' precision is one that this processor only imitates, many times slower than float32."""
        return self.device.type == "cpu" and self.half is not None and not has_bf16()

    def place(self, networks: Networks) -> Networks:
        """The networks on their devices, in channels-last memory; the same place gives the same figures.

        In float32 on a CPU weights' gradients are those of `train.convolution`.

        Raises:
            UserError: if a GPU's memory does not hold them.
        """
        for k, network in enumerate(networks.networks):
            device = self.devices[k % len(self.devices)]
            with telling_full_memory():
                network.to(device).to(memory_format=torch.channels_last)
            if device.type == "cpu" and self.half is None:
                with_matrix_gradients(network)
        return networks

    def inputs(self, pictures_bchw: Tensor) -> Tensor:
        """Bytes to normalised float32 on the first device, in channels-last memory.

        Whole rows are taken at once: three channels side by side would be a loop of length three on a CPU, ten times
        as slow. There one picture is finished before the next, while it is in the cache (benchmarks/loader.py).
        """
        batch, channels, height, width = pictures_bchw.shape
        scale, shift = (
            torch.tensor(values, device=self.device).repeat(width)
            for values in ([1 / (255 * std) for std in STD], [-mean / std for mean, std in zip(MEAN, STD, strict=True)])
        )
        rows = pictures_bchw.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        rows = rows.to(self.device, non_blocking=True)
        normalised = torch.empty_like(rows, dtype=torch.float32)
        at_once = 1 if self.device.type == "cpu" else max(1, batch)
        for piece, source in zip(torch.split(normalised, at_once), torch.split(rows, at_once), strict=True):
            piece.copy_(source).mul_(scale).add_(shift)
        return normalised.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def autocast(self) -> torch.autocast:
        """Half precision where it was asked for, float32 otherwise."""
        return torch.autocast(self.device.type, dtype=self.half or torch.bfloat16, enabled=self.half is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that gradients in fp16 do not vanish; in any other precision it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)


@contextlib.contextmanager
def telling_full_memory() -> Iterator[None]:
    """Makes a `UserError` of a GPU's memory that ran out anywhere within, whether torch or the driver tells it."""
    try:
        yield
    except RuntimeError as error:
        first_line = str(error).split("\n")[0].split(". ")[0]
        if not isinstance(error, torch.OutOfMemoryError) and "CUDA error: out of memory" not in first_line:
            raise
        raise UserError(
            f"the GPU's memory is full ({first_line}); see who else uses it with nvidia-smi, or lower `micro_batch`"
        ) from None


def device_type(device: str) -> str:
    """`cpu` or `cuda`; raises `UserError` if `cuda` is asked for and absent."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("device is cuda, but torch sees no GPU here; set device to auto or cpu")
    return ("cuda" if available else "cpu") if device == "auto" else device
