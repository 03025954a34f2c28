"""A ResNet-18, forward and back, with the weights' gradients of `train.convolution` and with oneDNN's.

    OMP_NUM_THREADS=1 python -m benchmarks.convolution        # a minute and a half

float32, channels-last, processor time; the two take turns on the same batch. Also printed: how far the gradients
differ.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from train.convolution import with_matrix_gradients

SIZES = ((32, 32), (48, 32), (80, 16), (112, 16), (224, 8))
"""Sides of the pictures, and how many there are in a batch."""


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}; {torch.backends.cpu.get_cpu_capability()}\n")
    print("| pictures | oneDNN, s | here, s | times as fast (median) | lowest, highest | gradients differ by |")
    print("|---|---|---|---|---|---|")
    for side, batch in SIZES:
        pictures = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(7, (batch,))
        networks = [
            get_model("resnet18", weights=None, num_classes=7).to(memory_format=torch.channels_last) for _ in range(2)
        ]
        networks[1].load_state_dict(networks[0].state_dict())
        with_matrix_gradients(networks[1])
        for network in networks:
            step(network, pictures, labels)
        apart = max(differences(*networks))
        taken = [[step(network, pictures, labels) for network in networks] for _ in range(repeats)]
        ratios = sorted(theirs / ours for theirs, ours in taken)
        theirs_s, ours_s = (statistics.median(column) for column in zip(*taken, strict=True))
        spread = f"{ratios[0]:.2f}, {ratios[-1]:.2f}"
        times = f"{statistics.median(ratios):.2f}"
        print(
            f"| {batch} of {side} px | {theirs_s:.3f} | {ours_s:.3f} | {times} | {spread} | {apart:.1e} |", flush=True
        )


def step(network: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """Seconds of the process for one pass and back."""
    network.zero_grad()
    began = time.process_time()
    torch.autograd.backward(nn.functional.cross_entropy(network(pictures), labels))
    return time.process_time() - began


def differences(one: nn.Module, other: nn.Module) -> list[float]:
    """Of each weight's gradient, the largest difference over the largest value."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    gradients = [(a.grad, b.grad) for a, b in pairs if a.grad is not None and b.grad is not None]
    return [float((a - b).abs().max() / a.abs().max()) for a, b in gradients]


if __name__ == "__main__":
    main()
