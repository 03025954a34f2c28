"""MTCNN's three nets (Zhang et al. 2016) with the weights that the facenet-pytorch wheel carries.

Layers and names are those of `facenet_pytorch.models.mtcnn`, so that its weights fit and its numbers come out.
To import that package imports torchvision with all of its models, as long as torch takes; none of it is used here.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)

Answers = tuple[Tensor, ...]
"""Of each patch (B x N), or of each place in a picture (B x N x rows x columns): 4 shifts of the box's sides, of O-Net
10 landmarks next, and last the probabilities of no face and of a face."""


class PNet(nn.Module):
    """Proposes boxes of 12 pixels a side everywhere in a picture, every second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, pixels_bchw: Tensor) -> Answers:
        """Shifts and probabilities at every place."""
        seen = self.pool1(self.prelu1(self.conv1(pixels_bchw)))
        seen = self.prelu3(self.conv3(self.prelu2(self.conv2(seen))))
        return self.conv4_2(seen), self.conv4_1(seen).softmax(dim=1)


class RNet(nn.Module):
    """Judges patches of 24 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, pixels_bchw: Tensor) -> Answers:
        """Shifts and probabilities of every patch."""
        seen = self.pool(self.prelu1(self.conv1(pixels_bchw)))
        seen = self.pool(self.prelu2(self.conv2(seen)))
        seen = self.prelu4(self.dense4(_flat(self.prelu3(self.conv3(seen)))))
        return self.dense5_2(seen), self.dense5_1(seen).softmax(dim=1)


class ONet(nn.Module):
    """Judges patches of 48 pixels a side, and finds five landmarks in them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool_wide, self.pool = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, pixels_bchw: Tensor) -> Answers:
        """Shifts, landmarks (five x, then five y, as shares of the side) and probabilities of every patch."""
        return self.rest(self.second(self.first(pixels_bchw)))

    def first(self, pixels_bchw: Tensor) -> Tensor:
        """What the first convolution sees, of pictures of any size."""
        seen: Tensor = self.prelu1(self.conv1(pixels_bchw))
        return seen

    def second(self, first_bchw: Tensor) -> Tensor:
        """What the second convolution sees in what the first one saw."""
        seen: Tensor = self.prelu2(self.conv2(self.pool_wide(first_bchw)))
        return seen

    def rest(self, second_bchw: Tensor) -> Answers:
        """The answers for patches of which the second convolution saw this."""
        seen = self.prelu3(self.conv3(self.pool_wide(second_bchw)))
        seen = self.prelu4(self.conv4(self.pool(seen)))
        seen = self.prelu5(self.dense5(_flat(seen)))
        return self.dense6_2(seen), self.dense6_3(seen), self.dense6_1(seen).softmax(dim=1)


def _flat(seen_bchw: Tensor) -> Tensor:
    """Width, height, channels: the order that the weights, which come from Caffe by way of MATLAB, were learned in."""
    return seen_bchw.permute(0, 3, 2, 1).flatten(1)


def with_weights(net: Net, device: torch.device) -> Net:
    """A net with its weights, on a device, ready to be used and laid out for speed.

    Raises:
        FileNotFoundError: if facenet-pytorch is not installed, or carries no such weights.
    """
    package = find_spec("facenet_pytorch")  # looks for it without running it
    if package is None or package.origin is None:
        raise FileNotFoundError("facenet-pytorch, which carries MTCNN's weights, is not installed")
    weights = Path(package.origin).parent / f"data/{type(net).__name__.lower()}.pt"
    net.load_state_dict(torch.load(weights, weights_only=True))
    # O-Net 2.4 times as fast on a CPU, P-Net on large pictures twice
    return net.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
