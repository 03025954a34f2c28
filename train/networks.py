"""K backbones with heads of C classes, side by side; and the loading of people's checkpoints."""

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model

from pipeline.contract import UserError
from train.outputs import Needs, Outputs

T = TypeVar("T")

MIN_MATCHED = 0.95
"""Share of a backbone's tensors that a checkpoint must match. A public loader matched none, in silence."""

_HEADS = {"fc", "feature", "classifier"}
"""What people call their heads; these are never loaded."""

_COUNTER = "num_batches_tracked"
"""Batch norm's counter: nothing reads it, and checkpoints older than PyTorch 0.4.1 lack it."""


LOGITS = Needs()

_POOLING = "avgpool"
"""What torchvision calls the layer between the last feature map and the head."""


class Networks(nn.Module):
    """K torchvision ResNets of one kind, each with its own head `fc`."""

    def __init__(self, backbone: str, *, networks: int, classes: int, seed: int) -> None:
        """Initialises on the CPU, without touching the global random state.

        Args:
            backbone: `resnet18`, `resnet34` or `resnet50`.
            networks: K.
            classes: C.
            seed: network k depends on (seed, k) alone, not on K.
        """
        super().__init__()
        self.networks = nn.ModuleList(_new_network(backbone, classes, seed, k) for k in range(networks))

    @property
    def features(self) -> int:
        """D, the width of what a network's last linear layer is given."""
        return _linears(self.networks[0])[-1].in_features

    @property
    def attention(self) -> bool:
        """Whether class activation maps can be had: MobileNet's head has a hidden layer, and none."""
        return len(_linears(self.networks[0])) == 1

    def forward(self, pictures_bchw: Tensor, needs: Needs = LOGITS) -> Outputs:
        """What every network says about every picture: the logits, and what else is needed."""
        return Outputs.joined([_outputs_of(network, pictures_bchw, needs) for network in self.networks], axis=0)

    def parameter_groups(self, lr_backbone: float, lr_head: float) -> list[dict[str, Any]]:
        """Two groups for an optimiser, backbones then heads; together every parameter, once."""
        backbones: list[nn.Parameter] = []
        heads: list[nn.Parameter] = []
        for network in self.networks:
            for key, parameter in network.named_parameters():
                (heads if _is_head(key) else backbones).append(parameter)
        return [{"params": backbones, "lr": lr_backbone}, {"params": heads, "lr": lr_head}]


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

    Understood are safetensors and PyTorch files: a state dict, bare or under `state_dict`, with or without
    `module.`; several networks as `networks.K.…` (ours) or `model_1`, `model_2`, … (the original CCT code's).
    PyTorch files are read as plain weights: nothing in them is run.

    Args:
        network: one of `Networks.networks`.
        path: the file.
        index: k, from 0; from a file of several networks the k-th is taken.

    Raises:
        UserError: if the file is absent, damaged, more than plain weights, has no network k, or matches less
            than 95 % of the backbone; layers of a deeper ResNet count as not matched. Nothing is loaded then.
    """
    saved = _state_dict(_read(path), index, path)
    wanted = _backbone(network.state_dict())
    shapes = {key: value.shape for key, value in wanted.items()}
    matching = {key: value for key, value in saved.items() if shapes.get(key) == value.shape}
    missing = tuple(key for key in wanted if key not in matching)
    unexpected = tuple(key for key in saved if key not in wanted)
    deeper = [key for key in unexpected if key.startswith("layer")]
    share = len(matching) / (len(wanted) + len(deeper))
    if share < MIN_MATCHED:
        first = ", ".join([*missing, *deeper][:3])
        raise UserError(
            f"{path} matches {share:.1%} of the backbone, at least {MIN_MATCHED:.0%} are needed; "
            f"not matched, among others: {first}; check `backbone` and `init`"
        )
    network.load_state_dict(matching, strict=False)
    return MatchReport(matched=len(matching), total=len(wanted), missing=missing, unexpected=unexpected)


def _new_network(backbone: str, classes: int, seed: int, k: int) -> nn.Module:
    digest = hashlib.sha256(f"network {k} of seed {seed}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:4]))
        return get_model(backbone, weights=None, num_classes=classes)


def _outputs_of(network: nn.Module, pictures_bchw: Tensor, needs: Needs) -> Outputs:
    """One network's outputs, K = 1.

    torchvision's ResNets, MobileNets and EfficientNets run their children in order: layers to the last feature map, a
    pooling, and a head that ends in a linear layer.
    """
    children = dict(network.named_children())
    maps_bdhw = pictures_bchw
    while (name := next(iter(children))) != _POOLING:
        maps_bdhw = children.pop(name)(maps_bdhw)
    pooling, head = children.values()
    last = _linears(head)[-1]
    features_bd = pooling(maps_bdhw).flatten(1)
    for layer in list(head)[:-1] if isinstance(head, nn.Sequential) else []:
        features_bd = layer(features_bd)
    return Outputs(
        last(features_bd)[None],
        features_bd[None] if needs.features else None,
        torch.einsum("bdhw,cd->bchw", maps_bdhw, last.weight)[None] if needs.attention else None,
    )


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def _is_head(key: str) -> bool:
    return key.split(".")[0] in _HEADS


def _backbone(entries: Mapping[str, T]) -> dict[str, T]:
    return {key: value for key, value in entries.items() if not _is_head(key) and not key.endswith(_COUNTER)}


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
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
    entries = _entries(entries.get("state_dict", entries), path)
    several = _several(entries)
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
