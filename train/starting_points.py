"""Networks that begin with people's weights: checkpoints of the field, safetensors and our own."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from pipeline.contract import UserError
from train.networks import Networks, body_of, is_head

T = TypeVar("T")

MIN_MATCHED = 0.95
"""Share of a backbone's tensors that a checkpoint must match. A public loader matched none, in silence."""

_NESTED = ("model_state_dict", "model")
"""Under which names, beside `state_dict`, a training's checkpoint may hold its weights."""

_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bhilfd"),
]
"""What a NumPy number in a pickle consists of, also under NumPy 1's name: a training's accuracy often is one."""

_COUNTER = "num_batches_tracked"
"""Batch norm's counter: nothing reads it, and checkpoints older than PyTorch 0.4.1 lack it."""


def start_from(networks: Networks, path: Path) -> list[str]:
    """Initialises the backbones of all networks, a student's like the first one's; returns a line on each.

    Raises:
        UserError: as `load_backbone`.
    """
    told = []
    for number, network in enumerate(networks.networks):
        is_student = number == networks.size
        report = load_backbone(network, path, index=0 if is_student else number)
        name = "the student" if is_student else f"network {number + 1}"
        told.append(f"init: {name} took {report.matched} of {report.total} tensors from {path}")
    return told


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """How a checkpoint met a backbone; heads and batch norm's counters are left out of all four.

    Attributes:
        matched: tensors of the network that were loaded.
        total: tensors of the network.
        missing: keys of the network that the file lacks or holds in another shape.
        unexpected: keys of the file that the network lacks.
    """

    matched: int
    total: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_backbone(network: nn.Module, path: Path, *, index: int) -> MatchReport:
    """Initialises the backbone of one network from a file of weights; its head stays as it is.

    Understood are safetensors and PyTorch files: a state dict, bare or under `state_dict`, `model_state_dict` or
    `model`, with or without `module.`; several networks as `networks.K.…` (ours) or `model_1`, `model_2`, … (the
    original CCT code's).
    PyTorch files are read as plain weights and numbers: nothing in them is run.

    Args:
        network: one of `Networks.networks`.
        path: the file.
        index: k, from 0; from a file of several networks the k-th is taken, the only one of a file that holds one.

    Raises:
        UserError: if the file is absent, damaged, more than plain weights, has several networks and none k, holds
            numbers that are not finite, or matches less than 95 % of the backbone; layers of a deeper one count as
            not matched. Nothing is loaded then.
    """
    saved = _state_dict(_read(path), index, path)
    wanted = _backbone(network.state_dict())
    shapes = {key: value.shape for key, value in wanted.items()}
    matching = {k: value for k, value in saved.items() if shapes.get(k) == value.shape and _is_plain(value)}
    missing = tuple(key for key in wanted if key not in matching)
    unexpected = tuple(key for key in saved if key not in wanted)
    deeper = [key for key in unexpected if key.split(".")[0] in body_of(network)]
    share = len(matching) / (len(wanted) + len(deeper))
    if share < MIN_MATCHED:
        first = ", ".join([*missing, *deeper][:3])
        raise UserError(
            f"{path} matches {share:.1%} of the backbone, at least {MIN_MATCHED:.0%} are needed; "
            f"not matched, among others: {first}; check `backbone` and `init`"
        )
    if broken := next((key for key, value in matching.items() if not value.float().isfinite().all()), None):
        raise UserError(f"{path}: {broken} holds numbers that are not finite; choose another file for `init`")
    network.load_state_dict(matching, strict=False)
    return MatchReport(matched=len(matching), total=len(wanted), missing=missing, unexpected=unexpected)


def _is_plain(value: Tensor) -> bool:
    """Whether it holds floating-point numbers, all of them, here."""
    return value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"


def _backbone(entries: Mapping[str, T]) -> dict[str, T]:
    return {key: value for key, value in entries.items() if not is_head(key) and not key.endswith(_COUNTER)}


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} not found; set `init` to a file of weights, or to null") from None
    except pickle.UnpicklingError as error:
        culprit = re.search(r"GLOBAL (\S+)", str(error))
        detail = f"it calls {culprit[1]}" if culprit else "it is no plain file of weights"
        raise UserError(
            f"{path} is refused because reading it would run code ({detail}); "
            "use safetensors, or a state dict of tensors alone"
        ) from None
    except Exception as error:  # torch's reader raises nearly anything on damaged bytes
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as weights ({type(error).__name__}: {reason})") from None


def _state_dict(content: object, index: int, path: Path) -> dict[str, Tensor]:
    """The backbone's tensors of network `index`, under torchvision's names."""
    entries = _entries(content, path)
    nested = (entries[name] for name in _NESTED if isinstance(entries.get(name), Mapping))
    entries = _entries(entries.get("state_dict", next(nested, entries)), path)
    several = _several(entries)
    if len(several) == 1:  # as a bare state dict: every network begins with it
        index = next(iter(several))
    if several and index not in several:
        raise UserError(
            f"{path} holds {len(several)} networks and none for network {index + 1}; "
            "lower the parameter `networks`, or choose another file for `init`"
        )
    own = _backbone(_entries(several.get(index, entries), path))
    tensors = {key: value for key, value in own.items() if isinstance(value, Tensor)}
    for key in own.keys() - tensors.keys():
        raise UserError(f"{path} is no state dict: {key!r} is a {type(own[key]).__name__}, not a tensor")
    return tensors


def _several(entries: Mapping[str, object]) -> dict[int, object]:
    """What belongs to each network, in a file that holds several; else empty."""
    several: dict[int, object] = {}
    ours: dict[int, dict[str, object]] = {}
    for key, value in entries.items():
        if theirs := re.fullmatch(r"model_(\d+)", key):
            several[int(theirs[1]) - 1] = value
        elif found := re.fullmatch(r"networks\.(\d+)\.(.+)", key):
            ours.setdefault(int(found[1]), {})[found[2]] = value
    return several or dict(ours)


def _entries(content: object, path: Path) -> Mapping[str, object]:
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
