"""K backbones with heads of C classes, side by side, and what they say about a batch."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from pipeline.contract import UserError
from train.outputs import Needs, Outputs

HEADS = {"fc", "feature", "classifier"}
"""What people call their heads; these are never loaded."""

LOGITS = Needs()

_POOLING = "avgpool"
"""What torchvision calls the layer between the last feature map and the head."""


class Networks(nn.Module):
    """K torchvision networks of one kind, each with its own head; and a student beside them, if there is one."""

    def __init__(self, backbone: str, *, networks: int, classes: int, seed: int, student: bool = False) -> None:
        """Initialises on the CPU, without touching the global random state.

        Args:
            backbone: torchvision's name: a ResNet, a MobileNetV3 or an EfficientNet.
            networks: K.
            classes: C.
            seed: network k depends on (seed, k) alone, not on K.
            student: whether there is one more, after the K.
        """
        super().__init__()
        self.size = networks
        self.networks = nn.ModuleList(_new_network(backbone, classes, seed, k) for k in range(networks + student))

    @property
    def student(self) -> bool:
        """Whether the last network is a student, that the others do not hear of."""
        return len(self.networks) > self.size

    def voices(self, *, student: bool) -> slice:
        """Which of the networks, and of the rows of what they say, make a prediction: the K, or the student alone.

        Raises:
            UserError: if there is no student.
        """
        if student and not self.student:
            raise UserError("the model has no student; train one with `dvc exp run -S distill=on`")
        return slice(self.size, None) if student else slice(self.size)

    @property
    def features(self) -> int:
        """D, the width of what a network's last linear layer is given."""
        return _linears(self.networks[0])[-1].in_features

    @property
    def attention(self) -> bool:
        """Whether class activation maps can be had: MobileNet's head has a hidden layer, and none."""
        return len(_linears(self.networks[0])) == 1

    def forward(self, pictures_bchw: Tensor, needs: Needs = LOGITS) -> Outputs:
        """What every network says about every picture: the logits, and what else is needed; of a student the logits.

        A network may be on a device of its own: it is sent the pictures, and what it says comes back to theirs.
        """
        networks, students = self.networks[: self.size], self.networks[self.size :]
        outputs = Outputs.joined([_from_afar(network, pictures_bchw, needs) for network in networks], axis=0)
        if not students:
            return outputs
        return outputs._replace(student_sbc=_from_afar(students[0], pictures_bchw, LOGITS).logits_kbc)

    def parameter_groups(self, lr_backbone: float, lr_head: float) -> list[dict[str, Any]]:
        """Two groups for an optimiser, backbones then heads; together every parameter, once."""
        backbones: list[nn.Parameter] = []
        heads: list[nn.Parameter] = []
        for network in self.networks:
            for key, parameter in network.named_parameters():
                (heads if is_head(key) else backbones).append(parameter)
        return [{"params": backbones, "lr": lr_backbone}, {"params": heads, "lr": lr_head}]


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
        torch.einsum("bdhw,cd->bchw", maps_bdhw, last.weight.detach())[None] if needs.attention else None,
    )


def _from_afar(network: nn.Module, pictures_bchw: Tensor, needs: Needs) -> Outputs:
    outputs = _outputs_of(network, pictures_bchw.to(next(network.parameters()).device, non_blocking=True), needs)
    return outputs.changed(lambda said: said.to(pictures_bchw.device, non_blocking=True))


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def body_of(network: nn.Module) -> set[str]:
    """The names of the children before the pooling."""
    names = [name for name, _ in network.named_children()]
    return set(names[: names.index(_POOLING)])


def is_head(key: str) -> bool:
    """Whether a state dict's key belongs to a head: everything after the pooling."""
    return key.split(".")[0] in HEADS
