"""Weights' gradients as matrix products: equal to torch's own, where they pay and nowhere else."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from train import convolution
from train.compute import Compute
from train.convolution import MatrixGradientConv2d, weight_gradient, with_matrix_gradients
from train.networks import Networks


def by_hand(maps: Tensor, gradient: Tensor, kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> Tensor:
    """The gradient of every weight: the sum over what it was multiplied with."""
    padded = nn.functional.pad(maps, (padding[1], padding[1], padding[0], padding[0]))
    found = torch.zeros(gradient.shape[1], maps.shape[1], *kernel, dtype=maps.dtype)
    for row in range(gradient.shape[2]):
        for column in range(gradient.shape[3]):
            top, left = row * stride, column * stride
            window = padded[:, :, top : top + kernel[0], left : left + kernel[1]]
            found += torch.einsum("bd,bcij->dcij", gradient[:, :, row, column], window)
    return found


@pytest.mark.parametrize("piece_bytes", [1, 5_000, 2**21])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [
        (1, (3, 3), 1, (1, 1)),
        (5, (3, 3), 1, (1, 1)),
        (6, (3, 3), 2, (1, 1)),
        (7, (5, 2), 3, (2, 0)),
        (4, (2, 3), 1, (0, 1)),
    ],
)
def test_it_is_the_sum_over_all_windows(
    side: int,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    layout: torch.memory_format,
    piece_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, "PIECE_BYTES", piece_bytes)
    maps = torch.randn(5, 3, side, side, dtype=torch.float64).contiguous(memory_format=layout)
    outputs = nn.functional.conv2d(maps, torch.randn(4, 3, *kernel, dtype=torch.float64), None, stride, padding)
    gradient = torch.randn_like(outputs)
    found = weight_gradient(maps, gradient, torch.Size((4, 3, *kernel)), (stride, stride), padding)
    torch.testing.assert_close(found, by_hand(maps, gradient, kernel, stride, padding), rtol=1e-12, atol=1e-12)


def test_both_gradients_agree_with_finite_differences() -> None:
    layer = nn.Conv2d(128, 2, 3, stride=2, padding=1, bias=False).double()
    with_matrix_gradients(layer)
    assert type(layer) is MatrixGradientConv2d
    maps = torch.randn(2, 128, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, maps, fast_mode=True)
    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda weight: torch.func.functional_call(layer, {"weight": weight}, maps.detach()), weight, fast_mode=True
    )


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0"])
def test_a_network_learns_the_same(backbone: str) -> None:
    torch.manual_seed(0)
    plain = get_model(backbone, weights=None, num_classes=7).to(memory_format=torch.channels_last)
    changed = get_model(backbone, weights=None, num_classes=7).to(memory_format=torch.channels_last)
    changed.load_state_dict(plain.state_dict())
    with_matrix_gradients(changed)
    assert changed.state_dict().keys() == plain.state_dict().keys()
    pictures = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    said = []
    for network in (plain, changed):
        torch.manual_seed(0)  # dropout
        said.append(network(pictures))
        torch.autograd.backward(said[-1].square().sum())
    assert torch.equal(*said)
    for (name, one), other in zip(plain.named_parameters(), changed.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        assert one.grad.stride() == other.grad.stride(), name
        scale = float(one.grad.abs().max())
        torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=2e-4 * scale, msg=name)


def test_only_layers_for_which_it_pays_are_changed() -> None:
    kinds = {
        "many channels": nn.Conv2d(128, 8, 3, padding=1, bias=False),
        "few channels": nn.Conv2d(64, 8, 3, padding=1, bias=False),
        "a product already": nn.Conv2d(128, 8, 1, bias=False),
        "groups": nn.Conv2d(128, 128, 3, groups=128, bias=False),
        "holes": nn.Conv2d(128, 8, 3, dilation=2, bias=False),
        "bias": nn.Conv2d(128, 8, 3),
        "mirrored edges": nn.Conv2d(128, 8, 3, padding=1, padding_mode="reflect", bias=False),
        "padding by name": nn.Conv2d(128, 8, 3, padding="same", bias=False),
    }
    with_matrix_gradients(nn.ModuleList(kinds.values()))
    assert [name for name, layer in kinds.items() if type(layer) is MatrixGradientConv2d] == ["many channels"]


@pytest.mark.parametrize(("precision", "changed"), [("float32", 33), ("bf16", 0)])
def test_it_is_for_float32_on_a_cpu(precision: str, changed: int) -> None:
    compute = Compute.choose(device="cpu", precision=precision)
    networks = compute.place(Networks("resnet18", networks=3, classes=7, seed=0))
    assert sum(type(layer) is MatrixGradientConv2d for layer in networks.modules()) == changed


def test_without_training_or_in_half_precision_it_is_the_plain_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(128, 2, 3, bias=False)
    with_matrix_gradients(layer)
    maps = torch.randn(1, 128, 3, 3)
    assert "_Convolution" in type(layer(maps).grad_fn).__name__
    with torch.no_grad():
        assert layer(maps).grad_fn is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(maps).dtype == torch.bfloat16
    assert "_Convolution" not in type(layer.eval()(maps).grad_fn).__name__
