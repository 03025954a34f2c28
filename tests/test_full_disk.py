"""Disks that are full or refuse: one clear line, nothing half-written, and a clean continuation."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.projects import copy_project, environment

FILLER = """
from pathlib import Path
from pipeline import files
from pipeline.stage import run_stage

def body(params):
    with files.publishing(Path("small/out")) as stream:
        stream.write(bytes(2_000_000))

run_stage("toy", body)
"""
WORK = """
from pipeline.store import work_store

def work(name):
    with work_store().building("toy", name) as folder:
        (folder / "a").touch()
"""
BUILDER = """
from pipeline import engine
from pipeline.stage import run_stage
from pipeline.store import work_store
from toy_work import work

def body(params):
    engine.run_all(work, ["aa"], name=str, label="toy", unit="items", engine=params.engine)

if __name__ == "__main__":
    run_stage("toy", body, around=work_store().in_use())
"""
STEPS = """
import hashlib, json, subprocess, sys
from pathlib import Path

def fill(disk, room):
    with Path(disk, "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            filler.truncate(filler.tell() - room)

def entries():
    return {str(path): path.stat().st_ino for path in Path().rglob("entry.json") if "unfinished" not in path.parts}

report, finished = [], {}
for stage, disk, room in json.loads(sys.argv[1]):
    if disk:
        fill(disk, room)
    done = subprocess.run([sys.executable, "-m", f"pipeline.stages.{stage}"], capture_output=True, text=True)
    if disk:
        Path(disk, "filler").unlink()
    before, finished = finished, entries()
    left = [*Path("data").rglob(".*.*"), *Path("results").rglob(".*.*"), *Path().rglob("unfinished/*")]
    report.append({
        "code": done.returncode,
        "said": [line for line in done.stderr.splitlines() if not line.startswith(f"{stage}: ") or "error" in line],
        "left": list(map(str, left)),
        "redone": [path for path in before if finished.get(path) != before[path]],
    })
shards = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path("data/shards/demo").iterdir()}
print(json.dumps({"runs": report, "shards": shards}))
"""
PAGE = 4096
FULL = (
    [
        ("index", None, 0),
        ("extract", "store", 5 * PAGE),
        ("extract", "results", 0),
        ("extract", None, 0),
        ("align", "store", 0),
        ("align", None, 0),
        ("shard", "results", PAGE),
        ("shard", None, 0),
    ],
    [
        ("index", "data", 0),
        ("index", None, 0),
        ("extract", "data", 2 * PAGE),
        ("extract", None, 0),
        ("align", None, 0),
        ("shard", "data", 8 * PAGE),
        ("shard", None, 0),
    ],
)
"""Stage, the disk that is full but for so many bytes (None: there is room). Store and results are disks of their own,
or all of data is one."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose parameters are at hand."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def with_disks(folder: Path, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script that may mount file systems, which nobody else sees; skips where that is not permitted."""
    space = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*space, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if allowed.returncode:
        pytest.skip("this machine permits no mounts")
    return run([*space, "sh", "-euc", script], folder, **variables)


def run(command: list[str], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    surroundings = {name: value for name, value in environment().items() if name != "CCT_STORE"}
    surroundings |= {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)


def told(stage: str, disk: Path) -> str:
    """What a stage says of a full disk, as a pattern."""
    return (
        rf"{stage}: error: {disk.name}/\S+: no space left on the file system at {disk} "
        r"\(\S+ .?B of \S+ .?B free now\); "
        "free some and start again: what is finished is kept"
    )


def test_a_full_disk_is_one_line_that_names_it(folder: Path) -> None:
    (folder / "small").mkdir()
    (folder / "toy.py").write_text(FILLER)
    done = with_disks(folder, "mount -t tmpfs -o size=1m none small; python toy.py || echo code $?; ls -A small")
    assert done.stdout == "code 1\n", "exit code, and nothing left on the disk"
    assert re.fullmatch(told("toy", folder / "small") + "\n", done.stderr)


def test_a_limit_on_the_size_of_files_is_named(folder: Path) -> None:
    (folder / "small").mkdir()
    (folder / "toy.py").write_text(FILLER)
    done = run(["sh", "-c", "ulimit -f 1000; python toy.py"], folder)
    assert done.returncode == 1
    assert re.fullmatch(r"toy: error: small/out: larger than .* \(`ulimit -f`\), permits\n", done.stderr)
    assert list((folder / "small").iterdir()) == []


def test_a_command_that_the_disk_refuses_ends_in_one_line(folder: Path) -> None:
    clip = ROOT / "data/demo/raw/videos/batch1/demo-014.mp4"
    command = ["cct", "faces", str(clip), "--out", "found"]
    done = run(["sh", "-c", 'ulimit -f 8; "$@"', "sh", *command], folder)
    assert done.returncode == 1 and list(folder.glob("found*")) == []
    assert re.fullmatch(r"cct: error: \S+: larger than .* \(`ulimit -f`\), permits", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


def test_a_link_to_a_disk_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "small").symlink_to("/nowhere/at/all")
    (folder / "toy.py").write_text(FILLER)
    done = run(["python", "toy.py"], folder)
    assert done.returncode == 1
    said = "small: not a folder, but a file or a link that leads nowhere (is its disk mounted?); put it right"
    assert done.stderr == f"toy: error: {said}\n"


@pytest.mark.parametrize("reason", ["Read-only file system", "Permission denied"])
def test_a_store_that_cannot_be_written_stops_the_run_in_one_line(folder: Path, reason: str) -> None:
    """It is no failure of the video whose turn it is: under a budget for those, a run would leave out all of them."""
    (folder / "store").mkdir()
    (folder / "toy.py").write_text(BUILDER)
    (folder / "toy_work.py").write_text(WORK)
    if reason == "Permission denied":
        (folder / "store").chmod(0o555)
        powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
        done = run([*powerless, "python", "toy.py"], folder, CCT_STORE="store")
    else:
        done = with_disks(folder, "mount -t tmpfs -o ro none store; python toy.py", CCT_STORE="store")
    assert done.returncode == 1
    assert re.fullmatch(rf"toy: error: store\S*: {reason}; see to it that you may read and write there\n", done.stderr)


@pytest.mark.slow
def test_stages_on_full_disks_stop_and_go_on_once_there_is_room(tmp_path: Path) -> None:
    for name in ("store", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "steps.py").write_text(STEPS)
    project = copy_project(tmp_path, clips=("demo-001", "demo-029"))
    (tmp_path / "data/demo/raw").rename(tmp_path / "raw")
    project.set_params({"index.raw": "raw", "extract.stride": 30, "engine.workers": 1})
    shards = []
    for steps, disks in zip(FULL, (("store", "results"), ("data",)), strict=True):
        mounts = "; ".join(f"mount -t tmpfs -o size=16m none {disk}" for disk in disks)
        done = with_disks(
            tmp_path, f"{mounts}; python steps.py '{json.dumps(steps)}'", CCT_STORE="store" * ("store" in disks)
        )
        result = json.loads(done.stdout)
        for (stage, disk, _), seen in zip(steps, result["runs"], strict=True):
            expected = [told(stage, tmp_path / disk)] if disk else []
            assert seen["code"] == len(seen["said"]) == len(expected), (stage, disk, seen)
            assert all(re.fullmatch(*pair) for pair in zip(expected, seen["said"], strict=True)), seen["said"]
            assert seen["left"] == seen["redone"] == [], (stage, disk)
        shards.append(result["shards"])
    assert shards[0] == shards[1]
