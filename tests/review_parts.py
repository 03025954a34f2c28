"""A review of a small shard set, run as a real process, for tests."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.contract import CLASSES, SAMPLE_COLUMNS
from pipeline.shards.manifest import SAMPLES
from pipeline.tables import read_table
from tests.projects import environment
from tests.shard_sets import PARAMS_FILE, write_shard_set
from train.suspects import SUSPECTS, write_suspects

SEVEN = CLASSES[:7]


def review_project(folder: Path, suspects: int = 24) -> Path:
    """A folder with parameters, a shard set, and as many suspects, each one frame of the training set."""
    (folder / "params.yaml").write_bytes(PARAMS_FILE.read_bytes())
    written = write_shard_set(folder / "made", {"train": suspects + 3, "val": 3}, samples_per_shard=9, names=SEVEN)
    (folder / "data/shards").mkdir(parents=True)
    written.rename(folder / "data/shards/demo")
    samples = read_table(folder / "data/shards/demo" / SAMPLES, SAMPLE_COLUMNS)
    train = samples[samples["split"] == "train"].sort_values(["trial", "frame_index"]).head(suspects)
    rows = pd.DataFrame(
        {
            "dataset": "demo",
            "trial": train["trial"],
            "video": train["video"],
            "first_frame": train["frame_index"],
            "last_frame": train["frame_index"],
            "samples": 1,
            "given": [SEVEN[label] for label in train["label"]],
            "suggested": "Fear",
            "score": [1 - place / 100 for place in range(len(train))],
            "confidence": 0.6,
            "agreement": 1.0,
            "course": 0.7,
            "confident": 1.0,
        }
    )
    for name in SEVEN:
        rows[name] = 0.6 if name == "Fear" else 0.4 / 6
    write_suspects(folder / SUSPECTS, rows, SEVEN)
    return folder


@contextlib.contextmanager
def reviewing(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`cct review` as a process, and the address it prints."""
    command = [sys.executable, "-m", "train.cli", "review", "--no-browser", *options]
    path = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        command, cwd=folder, env=environment() | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().removeprefix("review: ").strip()
        finally:
            process.kill()
