"""Feeds every reader of foreign bytes with damaged ones for some minutes; anything but a typed error is a find.

    python -m benchmarks.fuzz --minutes 10                  # all targets, in turn
    python -m benchmarks.fuzz --minutes 5 --only mp4 --seed 7

Each target runs in a process of its own with limited memory, so that a crash of a library is a find too; the last input
is kept in a file, which is named. A find becomes a test.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzzing import quiet, targets
from tests.test_fuzz import NAMES

MEMORY = 4 << 30
"""Address space of a process, in bytes; libraries alone reserve two gigabytes."""

SLOWEST_S = 20.0
EXAMPLES = 500


def main() -> None:
    """Runs the targets and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    chosen = [arguments.only] if arguments.only else NAMES
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {arguments.seed}; last inputs in {kept}")
    finds = 0
    for name in chosen:
        seconds = 60 * arguments.minutes / len(chosen)
        process = multiprocessing.get_context("spawn").Process(target=feed, args=(name, seconds, arguments.seed, kept))
        process.start()
        process.join(seconds + 120)
        if process.is_alive():
            process.kill()
            process.join()
        finds += process.exitcode != 0
        if process.exitcode != 0:
            print(f"{name}: FIND (exit code {process.exitcode}); see {kept / name}.txt", flush=True)
    raise SystemExit(finds > 0)


def feed(name: str, seconds: float, first_seed: int, kept: Path) -> None:
    """Feeds one target for so long; ends with 1 and a report in a file at the first find."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    quiet()
    began, fed, slowest = time.monotonic(), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        target = targets(Path(folder))[name]

        def check(content: bytes) -> None:
            nonlocal fed, slowest
            (kept / name).write_bytes(content)
            start = time.monotonic()
            target.check(content)
            fed, slowest = fed + 1, max(slowest, time.monotonic() - start)
            assert slowest < SLOWEST_S, f"one input took {slowest:.1f} s"

        number = first_seed
        try:
            while time.monotonic() - began < seconds:
                run(check, target.inputs, number)
                number += 1
        except BaseException:
            (kept / f"{name}.txt").write_text(traceback.format_exc())
            raise SystemExit(1) from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {fed} inputs in {seconds:.0f} s, slowest {slowest:.2f} s, peak memory {peak:.0f} MB", flush=True)


def run(check: object, inputs: st.SearchStrategy[bytes], number: int) -> None:
    """One round of hypothesis, without its database."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def feed_one(content: bytes) -> None:
        assert callable(check)
        check(content)

    feed_one()


if __name__ == "__main__":
    main()
