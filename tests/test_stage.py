"""Stages as processes: one at a time, ended by signals and with their parents, and a second one refused."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.killing import mend_dvc, processes_in
from tests.projects import environment

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
SHELL_THAT_STAYS = '#!/bin/sh\n/bin/sh "$@"\ncode=$?\nexit $code\n'


def wait_until(condition: Callable[[], object]) -> None:
    """Fails if that does not happen in a time that only a hang explains."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never happened")


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
        mend_dvc(repository)
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
