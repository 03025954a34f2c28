"""Dask: a real scheduler with real worker processes, one of which is killed; SLURM as far as it goes without one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline import engine
from pipeline.contract import UserError
from pipeline.engine_params import ClusterParams, EngineParams
from pipeline.workers import cluster
from pipeline.workers.limits import Limits
from pipeline.workers.place import NobodyWorksError, Place, run_there, shared_place
from tests.conftest import ROOT
from tests.engine_tasks import ITEMS, dies, kills_what_started_it, slower_the_earlier
from tests.projects import environment

NO_LIMITS = Limits(timeout_s=None, memory_gb=None)
JOBS = ClusterParams(
    jobs=2,
    cores=1,
    memory="2GB",
    walltime="1-02:03:04",
    queue="long",
    account="faces",
    interface=None,
    directives=["--exclusive"],
    prologue=["module load ffmpeg"],
)
SBATCH = """#!/bin/sh
[ "$1" = --test-only ] && { [ ! -e refuse ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }; exit 0; }
script=$(mktemp) && cp "$1" "$script"
setsid sh "$script" >> jobs.log 2>&1 &
echo $! >> jobs
echo "Submitted batch job $!"
"""
SCANCEL = '#!/bin/sh\nkill -- -"$1"\n'


def how(address: str | None = None, asked: ClusterParams | None = None, *, max_failures: int = 0) -> EngineParams:
    return EngineParams(
        kind="dask",
        workers=0,
        max_failures=max_failures,
        timeout_s=None,
        memory_gb=None,
        address=address,
        cluster=asked,
    )


@contextmanager
def started(*command: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A `dask` command, killed at the end."""
    surroundings = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(["dask", *command], cwd=folder, env=surroundings, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running_cluster(folder: Path, *, workers: int) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of a scheduler on loopback, and its workers, one a process with one thread."""
    folder.mkdir()
    told = folder / "scheduler.json"
    with ExitStack() as stack:
        here = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        stack.enter_context(started("scheduler", *here, "--scheduler-file", str(told), folder=folder))
        while not (told.exists() and told.read_text().endswith("}")):
            time.sleep(0.05)
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
        address = str(json.loads(told.read_text())["address"])
        each = [started("worker", address, *options, folder=folder) for _ in range(workers)]
        yield address, [stack.enter_context(worker) for worker in each]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with shared_place(NO_LIMITS) as here:
        yield here


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"folder": Path("/absent")}, "there is no folder /absent; the project's must be shared"),
        ({"versions": (("numpy", "1.0"),)}, r"it has numpy \S+ instead of 1\.0"),
        (
            {"versions": (("this project's code,", "0123"),)},
            r"it has this project's code, \w{12} instead of 0123",
        ),
        ({"marks": ((Path("/tmp/absent"), "0"),)}, "/tmp is another folder there; it must be shared"),
    ],
)
def test_a_worker_elsewhere_refuses_to_work_with_what_differs(
    place: Place, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(NobodyWorksError, match=rf"the worker on \S+ cannot take part: {problem}; see docs/cluster\.md"):
        run_there(replace(place, **changes), b"")  # type: ignore[arg-type]


def test_the_marks_of_a_place_vanish_with_it(place: Place) -> None:
    assert all(mark.read_text() == secret for mark, secret in place.marks)
    before = {mark.parent for mark, _ in place.marks}
    with shared_place(NO_LIMITS) as another:
        assert another.marks != place.marks
    assert {path for folder in before for path in folder.glob(".shared-*")} == {mark for mark, _ in place.marks}


@pytest.mark.parametrize(("asked", "missing"), [(None, "distributed"), (JOBS, "dask_jobqueue")])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: ClusterParams | None, missing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    address = None if asked else "tcp://127.0.0.1:1"
    with pytest.raises(UserError, match=rf"engine\.kind is dask, but {missing} is not installed; `pip install"):
        engine.run_all(dies, ["a"], name=str, label="x", unit="items", engine=how(address, asked))


@pytest.mark.slow
def test_no_scheduler_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(UserError, match=r"engine\.address: no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        engine.run_all(dies, ["a"], name=str, label="x", unit="items", engine=how("tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_deaths_cost_one_item_each_whether_of_our_process_or_of_dask_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with running_cluster(tmp_path / "dask", workers=5) as (address, workers):
        tally = engine.run_all(
            kills_what_started_it,
            ["a", "killed", "us", "b"],
            name=str,
            label="x",
            unit="items",
            engine=how(address, max_failures=2),
        )
        assert sum(worker.poll() is None for worker in workers) == 1
    assert list(tally.results) == ["a", "b"]
    assert [(failure.name, failure.died) for failure in tally.failures] == [("killed", True), ("us", True)]
    assert "killed twice" in tally.failures[0].reason
    assert tally.failures[1].reason == "the Dask workers that worked on it died, 4 in a row"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an `sbatch` that starts jobs as processes here; no job outlives the test."""
    (tmp_path / "bin").mkdir()
    for name, content in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield tmp_path
    for job in jobs(tmp_path):
        job.kill()


def jobs(folder: Path) -> list[psutil.Process]:
    """Processes of the jobs that were started, as far as they live."""
    groups = {int(line) for line in (folder / "jobs").read_text().split()} if (folder / "jobs").exists() else set()
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


@pytest.mark.slow
def test_a_job_asks_slurm_for_what_was_set(slurm: Path) -> None:
    with cluster.slurm_cluster(JOBS) as asked:
        script = asked.job_script()
    for line in ("-J cct", "-p long", "-A faces", "--cpus-per-task=1", "--mem=2G", "-t 1-02:03:04", "--exclusive"):
        assert f"#SBATCH {line}" in script.splitlines(), line
    *_, prologue, command, _ = script.split("\n")
    assert prologue == "module load ffmpeg"
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert f"--lifetime {26 * 3600 + 3 * 60 + 4 - 180}s" in command and "--nthreads 1 " in command
    assert jobs(slurm) == []


@pytest.mark.slow
def test_ctrl_c_stays_what_it_was() -> None:
    """A stage that ends with code 0 is a success to DVC."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from pipeline.workers.cluster import _imported; "
        "_imported('dask_jobqueue'); raise SystemExit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_what_slurm_refuses_and_its_absence_are_told_at_once(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "refuse").touch()
    with pytest.raises(UserError, match=r"engine\.cluster: sbatch refuses such a job: sbatch: error: invalid partit"):
        cluster.slurm_cluster(JOBS)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(UserError, match=r"engine\.cluster: there is no sbatch on this machine"):
        cluster.slurm_cluster(JOBS)


@pytest.mark.slow
def test_jobs_of_slurm_do_the_work_and_are_given_back(slurm: Path) -> None:
    asked = JOBS.model_copy(update={"prologue": [], "queue": None, "account": None})
    tally = engine.run_all(slower_the_earlier, ITEMS, name=str, label="x", unit="items", engine=how(None, asked))
    assert list(tally.results) == ITEMS
    assert len((slurm / "jobs").read_text().split()) == 2
    gone = psutil.wait_procs(jobs(slurm), timeout=20)[1] == []
    assert gone, "scancel was not called"
