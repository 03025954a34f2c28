"""Writes docs/damage.md: every kind of bad input and of damage really made, and what the user is told.

    python -m benchmarks.damage > docs/damage.md        # about a minute

One raw set holds every kind of bad input beside four healthy trials; the stages index, extract, align and shard run on
it, and on the healthy trials alone. Each kind of damage is done to a copy of a small shard set, which `cct verify` and
training then meet. The cases are those of tests/test_damage.py.
"""

import contextlib
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pipeline.commands.verify import verify
from pipeline.contract import UserError
from pipeline.params import Params, load_params
from tests.damaged_raw import HEALTHY, RAW_CASES, RUN_CASES, build, make_raw, seen
from tests.damaged_shards import SHARD_CASES
from tests.shard_sets import SIZES, write_shard_set

ROOT = Path(__file__).parent.parent
HEAD = """# What happens when something is wrong

Made by `python -m benchmarks.damage > docs/damage.md`, which makes every case and runs the real stages, `cct verify`
and the beginning of training on it; the same cases are tests (tests/test_damage.py). None hangs, none is silent, none
stops the others.
"""
INPUT = """## Bad input

Seen in `results/quarantine.csv` (a typed reason, frames, detail) and `results/mismatch.csv` (notes). All of these were
in one raw set with {healthy} healthy trials, in one run that went to its end; the last column says whether the healthy
trials' {faces} faces are the bytes of a run without the bad ones.
"""
STOPS = """
## What stops a run

One line on stderr, exit code 1, nothing half-written; finished work is kept for the next run.
"""
SHARDS = """
## Damaged shard sets

Seen from `cct verify` (exit code 1), naming the file; files that are whole are not named. Training and evaluation
refuse the set with the same words and the command that mends it. *Forged* sets have a manifest whose counts and digests
are right.
"""


def main() -> None:
    """Prints the page."""
    params = load_params(ROOT / "params.yaml")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as page:
        print(HEAD)
        raw_table(Path(folder), params)
        run_table(Path(folder), params)
        shard_table(Path(folder), params)
    sys.stdout.write(page.getvalue())


def raw_table(folder: Path, params: Params) -> None:
    """Bad videos and annotations among healthy ones."""
    names = make_raw(folder / "messy/raw", RAW_CASES)
    make_raw(folder / "clean/raw", [])
    clean, messy = build(folder / "clean", params), build(folder / "messy", params)
    healthy = {key: digest for key, digest in messy.pictures.items() if key.startswith(tuple(HEALTHY))}
    same = healthy == clean.pictures
    print(INPUT.format(healthy=len(HEALTHY), faces=len(clean.pictures)))
    rows = [
        (case.kind, "; ".join(seen(messy, names[case.kind])), "the same" if same else "CHANGED") for case in RAW_CASES
    ]
    table(("kind", "what the user sees", "the other videos"), rows)


def run_table(folder: Path, params: Params) -> None:
    """What stops a run."""
    print(STOPS)
    rows = []
    for number, case in enumerate(RUN_CASES):
        place = folder / f"run{number}"
        place.mkdir()
        try:
            case.run(place, params)
            said = "NOTHING"
        except UserError as error:
            said = str(error)
        rows.append((case.kind, said))
    table(("kind", "what the user sees"), rows)


def shard_table(folder: Path, params: Params) -> None:
    """Damage to shard sets."""
    print(SHARDS)
    whole = write_shard_set(folder / "whole", SIZES, samples_per_shard=5)
    rows = []
    for number, case in enumerate(SHARD_CASES):
        damaged = shutil.copytree(whole, folder / f"shards{number}")
        case.make(damaged)
        rows.append((case.kind, verified(damaged).replace(f"{damaged}/", ""), refused(damaged, params)))
    table(("kind", "what `cct verify` says", "training"), rows)


def verified(folder: Path) -> str:
    """What the command prints, without its advice and its progress."""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        try:
            verify(folder)
        except UserError as error:
            print(str(error).split("; fetch it again")[0])
        except SystemExit:
            pass
    return "; ".join(line for line in said.getvalue().splitlines() if not line.startswith("verify: "))


def refused(folder: Path, params: Params) -> str:
    """Whether training begins."""
    from train.run import prepare  # loads torch, which every worker process of the stages would then load too

    try:
        prepare(params, folder)
    except UserError as error:
        return "refused" if "dvc" in str(error) else "refused WITHOUT ADVICE"
    return "BEGINS"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(list(head))}")
    for row in rows:
        print(f"| {' | '.join(cell(text) for text in row)} |")


def cell(text: str) -> str:
    """Text that cannot leave its cell; temporary folders have no name."""
    text = re.sub(r"/\S*/(?=raw|data|shards\d)", "", text).replace("\n", "\\n").replace("|", "\\|")
    return text if len(text) < 300 else f"{text[:297]}..."


if __name__ == "__main__":
    main()
