"""What a snapshot of three ResNet-18 costs to take and to go on from, and what going on in mid-epoch costs in all.

    python -m benchmarks.snapshots                    # a minute
    OMP_NUM_THREADS=1 python -m benchmarks.snapshots  # processor seconds that other programs hardly change
    python -m benchmarks.snapshots --folder /where/the/work/store/is

Going on is timed from the call that builds the run to the end of the first step, and so is a fresh start: the
difference is the cost. It is set beside a step of the demo's kind (80 px, 16 faces), times the steps of an epoch of
`--faces`.
"""

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path

from pipeline.stage import SignalledError
from pipeline.store import WorkStore
from tests.shard_sets import params, write_shard_set
from train.fit import fit
from train.interruption import Interruption
from train.run import prepare
from train.snapshots import Position, Snapshots

FACES, BATCH, SIDE = 707, 16, 80
"""Of the demo: training faces, params.yaml's batch and size."""


class Asked(Interruption):
    """Ends a run after so many steps: `fit` looks once a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.ended_s = steps, (0.0, 0.0)

    @property
    def number(self) -> int:
        """A signal from that step on."""
        if self.steps == 0:
            return signal.SIGTERM
        self.steps -= 1
        self.ended_s = now()
        return signal.SIGTERM if self.steps == 0 else 0

    @number.setter
    def number(self, _: int) -> None:
        """No signal comes from outside."""


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the snapshots are (default: the system's temporary folder)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--faces", type=int, default=FACES, help="of an epoch (default: the demo's)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        shards = write_shard_set(Path(name), {"train": 16, "val": 8})
        settings = params(networks=3, epochs=1, batch_size=8, image_size=64, workers=0, device="cpu")
        run = prepare(settings, shards)
        fit(run, Path(name) / "models", interruption=Interruption())
        kept = Snapshots(WorkStore(Path(name) / "work"), "ab" * 32)
        learner = run.learner
        state = {"networks": learner.networks.state_dict(), "optimizer": learner.optimizer.state_dict()}
        taken, read = [], []
        for batch in range(arguments.repeats):
            began = time.perf_counter()
            kept.save(Position(batch=batch), state)
            taken.append(time.perf_counter() - began)
            began = time.perf_counter()
            found = kept.newest()
            assert found is not None
            learner.networks.load_state_dict(found.state["networks"])
            learner.optimizer.load_state_dict(found.state["optimizer"])
            read.append(time.perf_counter() - began)
        size = max(entry.size_bytes for entry in kept.store.entries())
    print(f"{size / 1e6:.0f} MB\n\n| | seconds (median) | lowest, highest |\n|---|---|---|")
    for what, seconds in (("taken, durably", taken), ("found, digested and loaded", read)):
        print(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f}, {max(seconds):.2f} |")
    going_on(arguments.folder, arguments.repeats, arguments.faces)


def going_on(folder: Path | None, repeats: int, faces: int) -> None:
    """Prints what a start in mid-epoch takes beyond a fresh one, and an epoch, by the clock and of the processor."""
    fresh, resumed, steps = [], [], []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        shards = write_shard_set(Path(name), {"train": 8 * BATCH, "val": 8})
        for number in range(repeats):
            kept = Snapshots(WorkStore(Path(name) / str(number)), "ab" * 32)
            fresh.append(started(shards, kept, steps=1))
            resumed.append(started(shards, kept, steps=1))
            more = started(shards, kept, steps=3)
            steps.append(tuple((long - short) / 2 for long, short in zip(more, resumed[-1], strict=True)))
            kept.drop()
    print(f"\n| | seconds | of the processor |\n|---|---|---|\n| a fresh start, to its first step | {told(fresh)} |")
    print(f"| going on, to the next step | {told(resumed)} |")
    costs = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in zip(fresh, resumed, strict=True)]
    epochs = [tuple(step * faces / BATCH for step in each) for each in steps]
    print(f"| the difference | {told(costs)} |\n| an epoch of {faces} faces | {told(epochs)} |")
    medians = [[statistics.median(column) for column in zip(*rows, strict=True)] for rows in (costs, epochs)]
    print("| share of an epoch | " + " | ".join(f"{a / b:.1%}" for a, b in zip(*medians, strict=True)) + " |")


def started(shards: Path, kept: Snapshots, *, steps: int) -> tuple[float, ...]:
    """Seconds from building a run to the end of so many steps, by the clock and of the processor."""
    began, asked = now(), Asked(steps)
    run = prepare(params(networks=3, epochs=2, batch_size=BATCH, image_size=SIDE, workers=0, device="cpu"), shards)
    try:
        fit(run, None, snapshots=kept, interruption=asked)
    except SignalledError:
        return tuple(end - begin for begin, end in zip(began, asked.ended_s, strict=True))
    raise SystemExit("the run was not ended")


def now() -> tuple[float, float]:
    """The clock and the processor time of this process."""
    return time.perf_counter(), time.process_time()


def told(rows: list[tuple[float, ...]]) -> str:
    """Medians of both."""
    return " | ".join(f"{statistics.median(column):.2f}" for column in zip(*rows, strict=True))


if __name__ == "__main__":
    main()
