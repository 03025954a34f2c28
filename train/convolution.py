"""Convolutions whose weights' gradient is a matrix product, for CPUs: oneDNN's own is slow on small maps.

Without AVX-512 oneDNN seems to add to the whole gradient once for each picture: 9.4 MB for 512 x 512 weights of 3 x 3,
however small the map. A product of the gradient and the windows under the kernel (im2col; Chellapilla et al. 2006,
"High Performance Convolutional Neural Networks for Document Processing") does so once a piece of the batch. The
forward pass and the gradient of the input are left to oneDNN (docs/decisions/034-matrix-gradients.md).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

LEAST_CHANNELS = 128
"""Below so many input channels there is little to win."""

PIECE_BYTES = 2**21
"""Windows that are laid out at once stay in the cache."""


class MatrixGradientConv2d(nn.Conv2d):
    """A convolution that differs from `nn.Conv2d` in how its weights' gradient is computed, and so in rounding."""

    def forward(self, input: Tensor) -> Tensor:
        """B x C x H x W to B x D x H' x W'."""
        if not (self.training and torch.is_grad_enabled()) or torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        convolved: Tensor = _Convolution.apply(input, self.weight, self.stride, self.padding)
        return convolved


def _pays(layer: nn.Module) -> bool:
    """Whether a layer is dense and has so many channels that its weights' gradient is worth computing so."""
    return (
        type(layer) is nn.Conv2d
        and layer.in_channels >= LEAST_CHANNELS
        and min(layer.kernel_size) > 1
        and (layer.groups, layer.dilation, layer.bias) == (1, (1, 1), None)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def with_matrix_gradients(network: nn.Module) -> None:
    """Changes the layers for which it pays, in place; their names, weights and results stay as they are."""
    for layer in network.modules():
        if _pays(layer):
            layer.__class__ = MatrixGradientConv2d


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        context.save_for_backward(maps, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(maps, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, weight = context.saved_tensors
        stride, padding = context.stride, context.padding
        to_maps = to_weight = None
        if context.needs_input_grad[0]:
            to_maps = conv2d_input(maps.shape, weight, gradient, stride, padding)  # type: ignore[no-untyped-call]
        if context.needs_input_grad[1]:
            to_weight = weight_gradient(maps, gradient, weight.shape, stride, padding)
        return to_maps, to_weight, None, None


def weight_gradient(
    maps_bchw: Tensor, gradient_bdhw: Tensor, shape: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a convolution's weights, D x C x kernel height x kernel width, in channels-last memory."""
    outputs, channels, kernel_height, kernel_width = shape
    padded = functional.pad(maps_bchw.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    windows = padded.unfold(1, kernel_height, stride[0]).unfold(2, kernel_width, stride[1]).permute(0, 1, 2, 4, 5, 3)
    batch, height, width = windows.shape[:3]
    places, width_of_window = height * width, kernel_height * kernel_width * channels
    gradient_bpd = gradient_bdhw.permute(0, 2, 3, 1).reshape(batch, places, outputs)
    at_once = max(1, PIECE_BYTES // (places * width_of_window * windows.element_size()))
    summed = maps_bchw.new_zeros(outputs, width_of_window)
    for piece, theirs in zip(torch.split(windows, at_once), torch.split(gradient_bpd, at_once), strict=True):
        summed.addmm_(theirs.reshape(-1, outputs).t(), piece.reshape(-1, width_of_window))
    return summed.view(outputs, kernel_height, kernel_width, channels).permute(0, 3, 1, 2)
