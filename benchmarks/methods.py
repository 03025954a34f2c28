"""Every training method: K, seconds an epoch, tests that name it, and how far it is from its float64 reference.

    python benchmarks/methods.py | grep '^|'     # as in docs/method.md, about two minutes
    python benchmarks/methods.py --samples 1280 --image-size 80

The last line is CCT with a student. An epoch is a run of one on synthetic shards, with its validation on 16 faces:
processor seconds of one thread, so that other programs on the machine hardly count. ResNet-18, float32. The deviation
is the largest, relative, over 24 random batches a number of networks (tests/method_cases.py), with parameters as they
are stored; in float32 the same numbers are rounded to it first.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.params import check_params  # noqa: E402
from tests.method_cases import COMMITTED, NETWORKS, cases  # noqa: E402
from tests.shard_sets import write_shard_set  # noqa: E402
from train.fit import fit  # noqa: E402
from train.methods import METHODS  # noqa: E402
from train.run import prepare  # noqa: E402


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=96, help="training faces")
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side")
    options = parser.parse_args()
    tests = collected()
    torch.set_num_threads(1)
    print("| method | K (tested) | processor s an epoch | tests | deviation, float64 | deviation, float32 |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shard_set(Path(folder), {"train": options.samples, "val": 16})
        epoch("ce", shards, options.image_size)  # what is loaded and compiled once does not count
        for method, student in [*((method, False) for method in METHODS), ("cct", True)]:
            seconds, networks = epoch(method, shards, options.image_size, student=student)
            double, single = deviations(method, student=student)
            named = sum(("student" if student else method) in words for words in tests)
            tried = f"{networks} ({', '.join(map(str, NETWORKS[method]))})"
            name = f"`{method}`, `distill: on`" if student else f"`{method}`"
            print(f"| {name} | {tried} | {seconds:.1f} | {named} | {double:.0e} | {single:.0e} |", flush=True)


def epoch(method: str, shards: Path, image_size: int, *, student: bool = False) -> tuple[float, int]:
    """Processor seconds of an epoch with its validation, and K."""
    changes = {"method": method, "networks": None, "epochs": 1, "image_size": image_size, "device": "cpu", "workers": 0}
    changes["distill"] = "on" if student else "off"
    params = check_params(COMMITTED | changes)
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(params, shards)
        began = time.process_time()
        fit(run, Path(folder))
        return time.process_time() - began, params.networks


def deviations(method: str, *, student: bool = False) -> tuple[float, float]:
    """The largest deviations in float64 and in float32."""
    tried = list(cases(method, student=student))
    return max(each.deviation() for each in tried), max(each.moved(torch.float32).deviation() for each in tried)


def collected() -> list[set[str]]:
    """The words of every test's name and parameters, of the tests of methods."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        *map(str, (ROOT / "tests").glob("test_method*.py")),
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [line.split("::")[1] for line in listed.splitlines() if "::" in line]
    return [{*re.split(r"[\[\]-]", name), *name.split("[")[0].split("_")} for name in names]


if __name__ == "__main__":
    main()
