"""A training step of three networks as most people would write it; benchmarks/step.py runs it as a process of its own.

It imports nothing of the project, so that no setting of the project's reaches it. Each line on its standard input is a
step; each line on its standard output is what that took and the loss.
"""

import sys
import time

import torch
from torch.nn import functional
from torchvision.models import resnet18


def main() -> None:
    """Reads the starting point from the file that is named, then a step a line."""
    start = torch.load(sys.argv[1], weights_only=True)
    networks = [resnet18(num_classes=start["classes"]) for _ in start["networks"]]
    for network, state in zip(networks, start["networks"], strict=True):
        network.load_state_dict(state)
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()], lr=1e-3)
    mean, std = start["mean"].view(3, 1, 1), start["std"].view(3, 1, 1)
    for _ in sys.stdin:
        began = time.perf_counter()
        inputs = (start["pictures"].float() / 255 - mean) / std
        logits = [network(inputs) for network in networks]
        supervision = sum(functional.cross_entropy(each, start["labels"]) for each in logits)
        consistency = sum(
            functional.kl_div(logits[j].log_softmax(1), logits[k].softmax(1), reduction="batchmean")
            for j in range(len(logits))
            for k in range(len(logits))
            if k != j
        )
        loss = (1 - start["weight"]) * supervision + start["weight"] * consistency
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(time.perf_counter() - began, loss.item(), flush=True)


if __name__ == "__main__":
    main()
