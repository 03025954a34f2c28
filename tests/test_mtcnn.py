"""MTCNN's nets, against those of facenet-pytorch: the same answers, bit for bit."""

import facenet_pytorch
import pytest
import torch
from torch import nn

from pipeline.mtcnn import ONet, PNet, RNet, with_weights


@pytest.mark.parametrize(
    ("ours", "theirs", "sides"),
    [
        (PNet, facenet_pytorch.PNet, (67, 40)),
        (RNet, facenet_pytorch.RNet, (24, 24)),
        (ONet, facenet_pytorch.ONet, (48, 48)),
    ],
)
def test_answers_are_those_of_facenet_pytorch(
    ours: type[nn.Module], theirs: type[nn.Module], sides: tuple[int, int]
) -> None:
    pixels = torch.randint(0, 256, (5, 3, *sides), generator=torch.Generator().manual_seed(0))
    pixels = ((pixels.float() - 127.5) / 128).to(memory_format=torch.channels_last)
    reference = theirs().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = reference(pixels)
        found = with_weights(ours(), torch.device("cpu"))(pixels)
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
