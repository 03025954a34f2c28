"""Stages as processes: one at a time, ended by signals and with their parents, stopped in one line by a full disk."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.projects import copy_project, environment

TOY = """
import time
from pathlib import Path
from pipeline import engine, files
from pipeline.stage import run_stage
from pipeline.store import work_store

def work(name):
    store = work_store()
    if store.find("toy", name) is None:
        with store.building("toy", name) as folder:
            (folder / "a").touch()
            Path(f"busy-{name}").touch()
            while Path("slow").exists():
                time.sleep(0.01)

def body(params):
    with files.fresh_folder(Path("data/toys/demo")) as folder:
        two = params.engine.model_copy(update={"workers": 2, "max_failures": 0})
        engine.run_all(work, ["aa", "bb"], name=str, label="toy", unit="items", engine=two)
        (folder / "result").write_text("whole")

if __name__ == "__main__":
    import toy  # workers find functions by the names of their modules

    run_stage("toy", toy.body, around=work_store().in_use())
"""
FILLER = """
from pathlib import Path
from pipeline import files
from pipeline.stage import run_stage

def body(params):
    with files.publishing(Path("small/out")) as stream:
        stream.write(bytes(2_000_000))

run_stage("toy", body)
"""
SHELL_THAT_STAYS = '#!/bin/sh\n/bin/sh "$@"\ncode=$?\nexit $code\n'


def wait_until(condition: Callable[[], object]) -> None:
    """Fails if that does not happen in a time that only a hang explains."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never happened")


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project with a stage that works until the file `slow` is removed; no process of it outlives the test."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "slow").touch()
    yield tmp_path
    for process in processes_in(tmp_path):
        process.kill()


def plain_environment() -> dict[str, str]:
    """With this project's code in reach, and the store in its usual place."""
    return {name: value for name, value in environment().items() if name != "CCT_STORE"} | {"PYTHONPATH": str(ROOT)}


@contextmanager
def started(folder: Path, *command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own; killed at the end."""
    pipe, surroundings = subprocess.PIPE, plain_environment() | variables
    with subprocess.Popen(
        command, cwd=folder, env=surroundings, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def busy_stage(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The stage, once both of its workers are in the middle of their work."""
    with started(folder, "python", "toy.py") as stage:
        wait_until(lambda: stage.poll() is not None or all((folder / f"busy-{name}").exists() for name in ("aa", "bb")))
        yield stage


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_stage_says_so_and_leaves_nothing_behind(folder: Path, number: int, code: int) -> None:
    with busy_stage(folder) as stage:
        if number == signal.SIGINT:
            os.killpg(stage.pid, number)  # as Ctrl-C does
        else:
            stage.send_signal(number)
        _, said = stage.communicate()
    assert stage.returncode == code
    assert said == "toy: interrupted; start again to go on where it stopped\n"
    assert processes_in(folder) == []
    assert names(folder / "data/toys") == []
    assert names(folder / "data/work/unfinished") == []


@pytest.mark.slow
def test_a_second_run_refuses_and_goes_on_when_the_first_is_killed(folder: Path) -> None:
    with busy_stage(folder) as first:
        with started(folder, "python", "toy.py") as second:
            _, said = second.communicate()
        assert second.returncode == 1
        assert said == ("toy: error: another run of stage toy is still working in this folder; wait for it or end it\n")
        first.kill()
        wait_until(lambda: not processes_in(folder))
        assert len(names(folder / "data/toys")) == 1, "a killed run has no time to tidy up"
    (folder / "slow").unlink()
    with started(folder, "python", "toy.py") as third:
        _, said = third.communicate()
    assert third.returncode == 0, said
    assert names(folder / "data/toys") == ["demo"]
    assert names(folder / "data/work/unfinished") == []
    assert (folder / "data/toys/demo/result").read_text() == "whole"


def in_small_disk(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script that may mount file systems, which nobody else sees; skips where that is not permitted."""
    space = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*space, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if allowed.returncode:
        pytest.skip("this machine permits no mounts")
    command = [*space, "sh", "-euc", script]
    return subprocess.run(command, cwd=folder, env=plain_environment(), capture_output=True, text=True, check=False)


def test_a_full_disk_is_one_line_that_names_it(folder: Path) -> None:
    (folder / "small").mkdir()
    (folder / "toy.py").write_text(FILLER)
    script = "mount -t tmpfs -o size=1m none small; python toy.py || echo code $?; ls -A small"
    done = in_small_disk(folder, script)
    assert done.stdout == "code 1\n", "exit code, and nothing left on the disk"
    assert re.fullmatch(
        rf"toy: error: small/out: no space left on the file system at {folder}/small \(1\.0 MB of 1\.0 MB free now\); "
        r"free some and start again: finished videos are not redone\n",
        done.stderr,
    )


DVC_FILE = """
stages:
  toy:
    cmd: python toy.py
    outs:
      - data/toys/demo:
          cache: false
"""


@pytest.fixture
def repository(folder: Path) -> Path:
    """The project as a DVC repository, and a shell that does not replace itself by the command that it runs."""
    (folder / "dvc.yaml").write_text(DVC_FILE)
    (folder / "shell").write_text(SHELL_THAT_STAYS)
    (folder / "shell").chmod(0o755)
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=folder, env=environment(), check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["/bin/sh", "./shell"])
def test_nothing_outlives_a_killed_dvc_and_the_next_one_completes(repository: Path, shell: str) -> None:
    """The moments cover DVC's own start, the stage's, its workers', and their work."""
    seed = 7
    moments = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(8):
        with started(repository, "dvc", "repro", SHELL=shell) as dvc:
            time.sleep(moments.uniform(0.5, 4))
            dvc.kill()
            dvc.wait()
            wait_until(lambda: not processes_in(repository))
    with started(repository, "dvc", "repro", SHELL=shell) as dvc:
        wait_until(lambda: dvc.poll() is not None or (repository / "busy-bb").exists())
        (repository / "slow").unlink()
        said = "".join(dvc.communicate())
    assert dvc.returncode == 0, said
    assert names(repository / "data/toys") == ["demo"]
    assert names(repository / "data/work/unfinished") == []


@pytest.mark.slow
def test_a_second_dvc_refuses_while_the_first_works(repository: Path) -> None:
    with started(repository, "dvc", "repro") as first:
        wait_until(lambda: first.poll() is not None or (repository / "busy-bb").exists())
        with started(repository, "dvc", "repro") as second:
            said = "".join(second.communicate())
        assert second.returncode != 0
        assert "Traceback" not in said
        (repository / "slow").unlink()
        said = "".join(first.communicate())
    assert first.returncode == 0, said
    assert (repository / "data/toys/demo/result").read_text() == "whole"


GROWING = """
import hashlib, json, subprocess, sys
from pathlib import Path

def entries():
    return {str(path): path.stat().st_ino for path in Path().rglob("entry.json") if "unfinished" not in path.parts}

disk, size_kb, finished, report = sys.argv[1], int(sys.argv[2]), {}, []
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", disk], check=True)
for stage in ("index", "extract", "align", "shard"):
    code = 1
    while code:
        done = subprocess.run([sys.executable, "-m", f"pipeline.stages.{stage}"], capture_output=True, text=True)
        code, before, finished = done.returncode, finished, entries()
        report.append({
            "stage": stage,
            "code": code,
            "said": [line for line in done.stderr.splitlines() if not line.startswith(f"{stage}: ") or "error" in line],
            "left": [str(path) for path in (*Path("data").rglob("*.partial"), *Path().rglob("unfinished/*"))],
            "redone": [path for path in before if finished.get(path) != before[path]],
        })
        if code:
            size_kb *= 3
            subprocess.run(["mount", "-o", f"remount,size={size_kb}k", disk], check=True)
shards = sorted(path for path in Path("data/shards/demo").iterdir())
digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
print(json.dumps({"runs": report, "shards": digests}))
"""


@pytest.mark.slow
def test_stages_on_a_full_disk_stop_and_go_on_once_it_is_larger(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "growing.py").write_text(GROWING)
    project = copy_project(tmp_path, clips=("demo-001", "demo-029"))
    (tmp_path / "data/demo/raw").rename(tmp_path / "raw")
    project.set_params({"index.raw": "raw", "extract.stride": 60, "shard.samples_per_shard": 3})
    results = {}
    for disk in ("store", "data"):
        store = disk if disk == "store" else ""
        results[disk] = json.loads(in_small_disk(tmp_path, f"CCT_STORE={store} python growing.py {disk} 40").stdout)
        for run in results[disk]["runs"]:
            told = (
                rf"{run['stage']}: error: .*: no space left on the file system at {tmp_path}/{disk} \(.* free now\); .*"
            )
            assert run["code"] in (0, 1)
            assert len(run["said"]) == run["code"], run["said"]
            assert all(re.fullmatch(told, line) for line in run["said"]), run["said"]
            assert run["left"] == run["redone"] == []
        assert {run["stage"] for run in results[disk]["runs"] if run["code"]} >= {"extract", "align"}
    assert results["store"]["shards"] == results["data"]["shards"]
