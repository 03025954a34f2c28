"""Small folders in which the train stage runs as a process, for tests of kills, signals and ranks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from pipeline.files import digest_file
from tests.shard_sets import PARAMS_FILE, write_shard_set

ROOT = Path(__file__).parent.parent

SETTINGS = {"networks": 1, "image_size": 32, "batch_size": 8, "epochs": 2, "rampup": 4, "device": "cpu"}


def training_folder(folder: Path, samples: dict[str, int], **changes: Any) -> Path:
    """A folder with shards and params.yaml, in which `stage_process` can train."""
    folder.mkdir(parents=True)
    written = write_shard_set(folder / "made", samples)
    (folder / "data/shards").mkdir(parents=True)
    written.rename(folder / "data/shards/demo")
    set_params(folder, **SETTINGS | changes)
    return folder


def set_params(folder: Path, **changes: Any) -> None:
    """Writes params.yaml: as it is there, or as committed, with changes."""
    yaml, path = YAML(), folder / "params.yaml"
    content = yaml.load(path if path.exists() else PARAMS_FILE)
    content.update(changes)
    yaml.dump(content, path)


def stage_process(folder: Path, *command: str, **environment: str) -> "subprocess.Popen[str]":
    """Starts `python -m train.stages.train`, or another command, there: one thread, in a process group of its own."""
    added = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.Popen(
        command or (sys.executable, "-m", "train.stages.train"),
        cwd=folder,
        env=os.environ | added | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def result(folder: Path) -> dict[str, str]:
    """Digests of what a training leaves, without the seconds it took."""
    models = {path.name: digest_file(path) for path in sorted((folder / "models/demo").iterdir())}
    rows = pd.read_csv(folder / "results/training.csv", dtype=str).drop(columns="seconds")
    return models | {"training.csv": rows.to_csv(index=False)}


def snapshots(folder: Path) -> list[Path]:
    """The snapshots that are there, oldest first."""
    return sorted((folder / "data/work/snapshots").glob("*/*-e*"))
