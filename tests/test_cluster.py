"""Dask: a real scheduler with real worker processes, one of which is killed; a real SLURM with one node."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import engine
from pipeline.contract import UserError
from pipeline.engine_params import ClusterParams, EngineParams
from pipeline.workers import cluster
from pipeline.workers.limits import Limits
from pipeline.workers.place import NobodyWorksError, Place, run_there, shared_place
from tests.conftest import ROOT
from tests.engine_tasks import ITEMS, dies, kills_what_started_it, waits_to_be_killed
from tests.projects import environment
from tests.slurm import QUEUE, slurm_node, told

NO_LIMITS = Limits(timeout_s=None, memory_gb=None)
JOBS = ClusterParams(
    jobs=2,
    cores=1,
    memory="2GB",
    walltime="1-02:03:04",
    queue=QUEUE,
    account="faces",
    interface=None,
    directives=["--exclusive"],
    prologue=["module load ffmpeg"],
)


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
    """The slurm.conf of a SLURM that runs here; nothing of it outlives the test."""
    with slurm_node() as conf:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SLURM_CONF", str(conf))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield conf


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
    assert told(slurm, "squeue", "--noheader") == ""


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
    absent = JOBS.model_copy(update={"queue": "absent"})
    with pytest.raises(
        UserError, match=r"engine\.cluster: sbatch refuses such a job: sbatch: error: invalid partition"
    ):
        cluster.slurm_cluster(absent)
    with monkeypatch.context() as without, pytest.raises(UserError, match=r"engine\.cluster: there is no sbatch on"):
        without.setenv("PATH", str(Path(sys.executable).parent))
        cluster.slurm_cluster(JOBS)


@pytest.mark.slow
def test_jobs_of_slurm_do_the_work_and_are_given_back(slurm: Path, tmp_path: Path) -> None:
    """The only job is cancelled while it works: another is asked for."""
    asked = JOBS.model_copy(update={"jobs": 1, "prologue": [], "directives": []})
    with ThreadPoolExecutor(1) as apart:
        cancelled = apart.submit(_cancelled_once_at_work, slurm, tmp_path / "working")
        items = [str(tmp_path / "working"), *ITEMS]
        tally = engine.run_all(waits_to_be_killed, items, name=str, label="x", unit="items", engine=how(None, asked))
    assert list(tally.results) == items and tally.failures == []
    jobs = {path.stem for path in Path("data/work/jobs").glob("cct-*.err")}
    assert len(jobs) == 2 and f"cct-{cancelled.result()}" in jobs
    until = time.monotonic() + 20
    while left := told(slurm, "squeue", "--noheader"):
        assert time.monotonic() < until, f"not given back: {left}"
        time.sleep(0.2)


def _cancelled_once_at_work(slurm: Path, working: Path) -> str:
    """Cancels the job in which `waits_to_be_killed` has begun; its number."""
    while not working.exists() or not (job := working.read_text()):
        time.sleep(0.1)
    told(slurm, "scancel", job)
    return job
