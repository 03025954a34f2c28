"""The same shards to the last byte, whoever builds them, where, with how many workers, on a cluster that loses one."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.projects import Project, copy_project, environment
from tests.test_cluster import running_cluster

pytestmark = pytest.mark.slow

CLIPS = ("demo-001", "demo-012", "demo-029")
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *READING)
"""Another user, who may still enter root's folders: the environment can be in one."""


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Somebody who builds the shards in a folder of their own."""

    folder: str
    workers: int
    umask: int
    variables: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """What is put before each command, to be somebody else."""


BUILDERS = [
    Builder(folder="one", workers=1, umask=0o022, variables={"TZ": "UTC", "LC_ALL": "C"}),
    Builder(folder="two or more words", workers=2, umask=0o077, variables={"TZ": "Asia/Kathmandu", "LC_ALL": "C.utf8"}),
    Builder(folder="drei", workers=3, umask=0o027, variables={"TZ": "America/St_Johns"}, before=NOBODY),
]


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="same-bytes-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def small_project(folder: Path, **changes: Any) -> Project:
    project = copy_project(folder, clips=CLIPS)
    project.set_params({"extract.stride": 15, **changes})
    return project


def build(project: Project, builder: Builder = BUILDERS[0]) -> dict[str, str]:
    """Runs the stages of the preparation; returns the digest of every file of the shard set."""
    for stage in ("index", "extract", "align", "shard"):
        done = subprocess.run(
            [*builder.before, sys.executable, "-m", f"pipeline.stages.{stage}"],
            cwd=project.folder,
            env=environment() | {"HOME": str(project.folder)} | builder.variables,
            umask=builder.umask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    shards = project.folder / "data/shards/demo"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(shards.iterdir())}


@pytest.fixture(scope="module")
def expected(open_folder: Path) -> dict[str, str]:
    """What the first of the builders gets."""
    return built_by(BUILDERS[0], open_folder)


def built_by(builder: Builder, folder: Path) -> dict[str, str]:
    project = small_project(folder / builder.folder, **{"engine.workers": builder.workers})
    if builder.before:
        if os.geteuid() or subprocess.run([*builder.before, sys.executable, "-c", ""], check=False).returncode:
            pytest.skip("this user cannot be somebody else who may use this environment")
        for path in (project.folder, *project.folder.rglob("*")):
            os.chown(path, 65534, 65534)
    return build(project, builder)


@pytest.mark.parametrize("builder", BUILDERS[1:], ids=lambda builder: builder.folder)
def test_neither_folder_nor_workers_nor_user_nor_surroundings_matter(
    builder: Builder, open_folder: Path, expected: dict[str, str]
) -> None:
    assert len(expected) > 4
    assert built_by(builder, open_folder) == expected


def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(tmp_path: Path, expected: dict[str, str]) -> None:
    with running_cluster(tmp_path / "dask", workers=2) as (address, workers):
        project = small_project(tmp_path / "project", **{"engine.kind": "dask", "engine.address": address})
        victim = workers[0].pid
        threading.Thread(target=kill_while_it_aligns, args=(victim, project.folder), daemon=True).start()
        found = build(project)
        assert workers[0].poll() is not None, "no worker was killed"
        assert workers[1].poll() is None
    assert found == expected


def kill_while_it_aligns(pid: int, project: Path) -> None:
    """SIGKILL for a Dask worker once it works on a video in the stage align."""
    while not (project / "data/frames/demo").exists():
        time.sleep(0.02)
    while not psutil.Process(pid).children():
        time.sleep(0.02)
    time.sleep(0.5)
    psutil.Process(pid).kill()
