"""A table from queueing to rendering in a real git and DVC repository: interrupted, gone on with, rendered."""

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.shards.naming import tell_name
from tests.projects import SMALL, Project, copy_project, environment
from tests.shard_sets import write_shard_set

pytestmark = pytest.mark.slow

TINY = """\
title: Tiny
heading: K
seeds: [0, 1]
rows:
  - {name: one, set: {networks: 1}}
  - {name: two, set: {networks: 2}}
sizes:
  demo: {note: For a test.}
"""
CCT = (str(Path(sys.executable).parent / "cct"), "table", "tiny")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The project on a ready shard set: `dvc commit` takes the place of the stages that make it."""
    project = copy_project(tmp_path / "project", clips=())
    project.set_params(SMALL | {"networks": None, "workers": 0, "device": "cpu"})
    (project.folder / "tables/tiny.yaml").write_text(TINY)
    made = write_shard_set(tmp_path / "made", {"train": 24, "val": 14})
    tell_name(made.rename(project.folder / "data/shards/demo"))
    yaml, path = YAML(), project.folder / "dvc.yaml"
    content = yaml.load(path)
    for stage in ("index", "extract", "align"):
        del content["stages"][stage]
    outs = ["data/shards/${dataset}", {"data/shards/${dataset}.json": {"cache": False}}]
    content["stages"]["shard"] = {"cmd": "false", "outs": outs}
    yaml.dump(content, path)
    project.dvc("commit", "--force", "shard")
    project.commit("Shards")
    return project


def test_a_table_is_interrupted_gone_on_with_and_rendered(project: Project) -> None:
    started = subprocess.Popen(
        (*CCT, "--run"),
        cwd=project.folder,
        env=environment() | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert started.stdout is not None
    second = False
    for line in started.stdout:
        second = second or "running 2 of 4: two, seed 0" in line
        if second and "classes stored" in line:
            break  # the training is about to begin
    started.send_signal(signal.SIGTERM)
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "cct: error: interrupted; the same command goes on where it stopped" in output
    done = len(project.dvc("exp", "list", "--names-only").stdout.split())
    assert done in (1, 2)  # 2 if the interrupt came when there was nothing left to end
    went_on = project.run(*CCT, "--run")
    first = {1: "two, seed 0", 2: "one, seed 1"}[done]
    assert f"running 1 of {4 - done}: {first}" in went_on.stdout
    assert "one, seed 0" not in went_on.stdout
    text = (project.folder / "results/tables/tiny.md").read_text()
    shown = json.loads(project.dvc("exp", "show", "--json").stdout)
    found: dict[int, list[float]] = {1: [], 2: []}
    for experiment in shown[1]["experiments"]:
        data = experiment["revs"][0]["data"]
        found[data["params"]["params.yaml"]["data"]["networks"]].append(
            data["metrics"]["results/metrics.json"]["data"]["f1"]
        )
    for name, values in (("one", found[1]), ("two", found[2])):
        assert len(values) == 2
        assert f"| {name} | 2 | {statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} |" in text
    assert (project.folder / "results/tables/tiny.svg").read_text().count("<circle") == 4
    again = project.run(*CCT, "--run")
    assert "running" not in again.stdout
    assert not project.run("git", "status", "--porcelain", "--untracked-files=no").stdout


QUEUED = """\
title: Queued
heading: Before
seeds: [0]
rows:
  - {name: nothing}
  - {name: another set, set: {pretrain.dataset: other, pretrain.epochs: 1}}
sizes:
  demo: {set: {networks: 1}, note: For a test.}
"""


def test_dvcs_own_queue_fills_a_table_also_from_pretraining_on_another_set(project: Project, tmp_path: Path) -> None:
    (project.folder / "tables/queued.yaml").write_text(QUEUED)
    made = write_shard_set(tmp_path / "others", {"train": 16, "val": 7})
    tell_name(made.rename(project.folder / "data/shards/other"))
    project.commit("Another set and a table")
    told = project.run(*CCT[:2], "queued", "--queue").stdout
    assert "queued 2 of 2: another set, seed 0" in told and "`dvc queue start` runs them" in told
    project.dvc("queue", "start")
    until = time.monotonic() + 900
    while "Queued" in (status := project.dvc("queue", "status").stdout) or "Running" in status:
        assert time.monotonic() < until, status
        time.sleep(1)
    assert status.count("Success") == 2, status + project.dvc("queue", "logs", status.split()[4], check=False).stdout
    text = project.run(*CCT[:2], "queued").stdout
    assert "| nothing | 1 |" in text and "| another set | 1 |" in text and "missing |" not in text
