"""SIGKILL at random moments of training, and how the end compares with that of a run that nobody disturbed.

    python -m benchmarks.train_kills                       # 30 kills each with 0, 1 and 2 loader workers; ten minutes
    python -m benchmarks.train_kills --kills 100 --seed 1

A life of the process ends after a random time of up to half of what an undisturbed run takes; then it is started
again, until the run is done. Runs are repeated until there were enough kills. A snapshot is taken every second, so that
many kills hit one that is being written.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.training_runs import result, set_params, snapshots, stage_process, training_folder

SAMPLES = {"train": 240, "val": 24}
EPOCHS = 2


@dataclass
class Count:
    """What happened with one number of workers."""

    runs: int = 0
    kills: int = 0
    different: int = 0
    moments: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Prints a Markdown table; the exit code is 1 if any end differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    print("| loader workers | runs | kills | before training | between snapshots | in a snapshot | different ends |")
    print("|---|---|---|---|---|---|---|", flush=True)
    different = 0
    with tempfile.TemporaryDirectory() as name:
        folder = training_folder(Path(name) / "run", SAMPLES, epochs=EPOCHS, snapshot_minutes=1 / 60)
        for workers in arguments.workers:
            set_params(folder, workers=workers)
            count = killed_runs(folder, arguments.kills, generator)
            moments = [str(count.moments[moment]) for moment in ("before", "between", "within")]
            print(
                f"| {workers} | {count.runs} | {count.kills} | {' | '.join(moments)} | {count.different} |", flush=True
            )
            different += count.different
    raise SystemExit(different > 0)


def killed_runs(folder: Path, kills: int, generator: random.Random) -> Count:
    """Runs until so many kills have happened, each compared with an undisturbed one."""
    began = time.monotonic()
    expected = undisturbed(folder)
    longest = (time.monotonic() - began) / 2
    count = Count()
    while count.kills < kills:
        clear(folder)
        count.runs += 1
        while not lived(folder, generator.uniform(0, longest), count):
            pass
        count.different += result(folder) != expected
        if snapshots(folder):
            raise SystemExit("a finished run left its snapshots behind")
    return count


def undisturbed(folder: Path) -> dict[str, str]:
    """The end of a run from start to finish."""
    clear(folder)
    process = stage_process(folder)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(output)
    return result(folder)


def lived(folder: Path, seconds: float, count: Count) -> bool:
    """Starts the stage and kills it, with its workers, after so many seconds; True if it was done before."""
    left_before = half_made(folder)
    process = stage_process(folder)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        count.kills += 1
        count.moments[
            "within" if half_made(folder) - left_before else "between" if snapshots(folder) else "before"
        ] += 1
        return False
    if process.returncode:
        raise SystemExit(output)
    return True


def half_made(folder: Path) -> set[str]:
    """Snapshots that were being written."""
    return {path.name for path in (folder / "data/work/unfinished").glob("*-e*")}


def clear(folder: Path) -> None:
    """Back to the shards."""
    for name in ("models", "results", "data/work"):
        shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()
