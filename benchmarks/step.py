"""One CCT step (three ResNet-18, 224 px, batch 16) here, and in a plain loop as most people would write it.

    python -m benchmarks.step                  # all cores, three minutes
    python -m benchmarks.step --batch 32       # more memory and time, about in proportion

The ways take turns, so that whatever else the machine does meets all of them. Also printed: how far the
first losses at equal precision differ, and the share of the machine's speed of multiplying matrices that a step
reaches. On a processor that only imitates bf16 it is left out.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from train.compute import MEAN, STD, Compute
from train.half import has_bf16
from train.methods import Given
from train.methods.cct import CCT
from train.networks import Networks
from train.step import Learner, learn

Way = Callable[[], tuple[float, float]]
"""A step: seconds and loss."""

SIDE, CLASSES, EPOCH = 224, 7, 12
GFLOP_FORWARD = 3.64
"""Of a ResNet-18 for one picture of 224 px: twice its 1.82 billion multiply-adds; training takes three times that."""


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16, help="pictures a step, in every way")
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (arguments.batch, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (arguments.batch,), generator=generator)
    with tempfile.TemporaryDirectory() as folder, plain(Path(folder) / "start.pt", pictures, labels) as plain_step:
        ways = {
            "plain loop, float32": plain_step,
            "here, float32": ours("float32", pictures, labels),
        }
        if has_bf16():
            ways["here, bf16"] = ours("bf16", pictures, labels)
        first = {name: way()[1] for name, way in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, way in ways.items():
                seconds[name].append(way()[0])
    report(seconds, first, arguments.batch)


def report(seconds: dict[str, list[float]], first: dict[str, float], batch: int) -> None:
    """Prints the tables."""
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
    asked = {name.split(", ")[1] for name in seconds}
    peaks = {name: matrix_speed(kind) for name, kind in kinds.items() if name in asked}
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}; {torch.backends.cpu.get_cpu_capability()}\n")
    print("| | pictures/s (median) | lowest, highest | times the plain loop | GFLOP/s | of peak | first loss |")
    print("|---|---|---|---|---|---|---|")
    plain_s = next(iter(seconds.values()))
    for name, taken in seconds.items():
        median = statistics.median(taken)
        times = statistics.median(base / own for base, own in zip(plain_s, taken, strict=True))
        speed = 3 * 3 * GFLOP_FORWARD * batch / median
        share = speed / peaks[name.split(", ")[1]]
        rates = f"{batch / max(taken):.1f}, {batch / min(taken):.1f}"
        print(
            f"| {name} | {batch / median:.2f} | {rates} | {times:.2f} | {speed:.0f} | {share:.0%} | {first[name]:.6f} |"
        )
    print("\nMatrices of 2048 x 2048: " + ", ".join(f"{name} {peak:.0f} GFLOP/s" for name, peak in peaks.items()))


@contextlib.contextmanager
def plain(file: Path, pictures: Tensor, labels: Tensor) -> Iterator[Way]:
    """The plain loop, from the same weights, in a process that knows nothing of the project."""
    start = {"networks": [network.state_dict() for network in fresh().networks], "classes": CLASSES}
    start |= {"pictures": pictures, "labels": labels, "mean": torch.tensor(MEAN), "std": torch.tensor(STD)}
    torch.save(start | {"weight": method().coefficients(EPOCH)["lambda"]}, file)
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    script = Path(__file__).with_name("plain_loop.py")
    process = subprocess.Popen(
        [sys.executable, script, file], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    said, answers = process.stdin, process.stdout

    def step() -> tuple[float, float]:
        said.write("step\n")
        said.flush()
        seconds, loss = answers.readline().split()
        return float(seconds), float(loss)

    try:
        yield step
    finally:
        said.close()
        process.wait()


def ours(precision: str, pictures: Tensor, labels: Tensor) -> Way:
    """The trainer's step."""
    compute = Compute.choose(device="cpu", precision=precision)
    networks = compute.place(fresh())
    learner = Learner(
        networks=networks,
        method=method(),
        optimizer=torch.optim.Adam(networks.parameters(), lr=1e-3, fused=True),
        compute=compute,
        name_samples=lambda positions: [str(position) for position in positions.tolist()],
    )
    bytes_bchw = pictures.contiguous(memory_format=torch.channels_last)
    given = Given(labels_b=labels, positions_b=torch.arange(len(labels)), epoch=EPOCH)

    def step() -> tuple[float, float]:
        began = time.perf_counter()
        loss = float(learn(learner, bytes_bchw, given)[0].total)
        return time.perf_counter() - began, loss

    return step


def fresh() -> Networks:
    """The same networks each time."""
    return Networks("resnet18", networks=3, classes=CLASSES, seed=0)


def method() -> CCT:
    """The paper's, in the middle of its ramp-up."""
    return CCT(beta=4.0, lambda_max=0.9, rampup=27, after_rampup="hold")


def matrix_speed(kind: torch.dtype, side: int = 2048) -> float:
    """GFLOP/s of multiplying large matrices, the best of several."""
    one, other = torch.randn(side, side, dtype=kind), torch.randn(side, side, dtype=kind)
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e9


if __name__ == "__main__":
    main()
