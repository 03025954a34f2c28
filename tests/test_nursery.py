"""Workers that are forked from a process that is ready: real processes, which live, die and end as spawned ones do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BEGIN = """
import os, sys, json, threading
from pipeline.workers.child import EARLY_ENVIRONMENT
os.environ.update(EARLY_ENVIRONMENT)
from pipeline.workers.nursery import current, nursery
from pipeline.workers.limits import Limits
from pipeline.workers.processes import Processes
from tests import nursery_tasks as tasks
NONE = Limits(timeout_s=None, memory_gb=None)
"""


def told(program: str, *arguments: object) -> object:
    """What a program of its own prints as JSON; `BEGIN` goes before it."""
    command = [sys.executable, "-c", BEGIN + program, *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60).stdout)


def test_a_worker_has_what_the_nursery_loaded_one_thread_and_its_own_environment() -> None:
    program = """
with nursery(), Processes(1, limits=NONE, modules=["pipeline.stages.align", "no.such.module"]) as workers:
    seen = workers.submit(tasks.surroundings).result()
print(json.dumps(seen | {"stage": os.getpid(), "here": os.environ.get("OMP_NUM_THREADS", "none")}))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", BEGIN + program]
    seen = json.loads(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    assert seen["loaded"] and seen["threads"] == 1
    assert seen["nursery"] not in (seen["stage"], os.getpid())
    assert (seen["OMP_NUM_THREADS"], seen["here"]) == ("1", "none")
    assert seen["descriptors"] == 1  # its connection: those of other workers would keep them from noticing an end


def test_nothing_is_forked_from_a_process_with_threads() -> None:
    program = """
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
with nursery(), Processes(1, limits=NONE) as workers:
    has = current() is not None
    parent = workers.submit(os.getppid).result()
waiting.set()
print(json.dumps([has, parent == os.getpid()]))
"""
    assert told(program) == [False, True]


def test_a_nursery_that_was_killed_is_done_without(tmp_path: Path) -> None:
    """What its workers did is tried once more, by spawned ones."""
    program = """
with nursery(), Processes(2, limits=NONE) as workers:
    calls = [workers.submit(tasks.kills_the_nursery_once, sys.argv[1], item) for item in "abcd"]
    results = [call.result() for call in calls]
    parent = workers.submit(os.getppid).result()
print(json.dumps([results, parent == os.getpid()]))
"""
    assert told(program, tmp_path / "mark") == [list("abcd"), True]
    assert (tmp_path / "mark").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_nursery_and_workers_end_with_a_stage_that_is_killed(tmp_path: Path) -> None:
    program = """
from tests.engine_tasks import linger
with nursery(), Processes(2, limits=NONE) as workers:
    for path in sys.argv[1:]:
        workers.submit(linger, path)
"""
    signs = [tmp_path / "one", tmp_path / "two"]
    with subprocess.Popen([sys.executable, "-c", BEGIN + program, *signs], cwd=ROOT) as stage:
        while not all(sign.exists() and sign.stat().st_size for sign in signs):
            assert stage.poll() is None
            time.sleep(0.02)
        workers = {int(line) for sign in signs for line in sign.read_text().split()[:1]}
        nurseries = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in workers}
        stage.kill()
    assert len(workers) == 2 and len(nurseries) == 1
    end_s = time.monotonic() + 20
    while any(is_alive(pid) for pid in workers | nurseries):
        assert time.monotonic() < end_s
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be seen off does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_ends_with_its_block() -> None:
    program = """
with nursery():
    is_there = current() is not None
try:
    os.waitpid(-1, 0)
    left = True
except ChildProcessError:
    left = False
print(json.dumps([is_there, current() is None, left]))
"""
    assert told(program) == [True, True, False]


def test_the_detector_loads_without_a_thread_so_that_what_has_loaded_it_may_be_forked() -> None:
    program = """
import pipeline.stages.align, pipeline.detector
print(json.dumps([len(os.listdir("/proc/self/task")), "torchvision" in sys.modules]))
"""
    assert told(program) == [1, False]


@pytest.mark.slow
def test_what_holds_for_workers_that_are_spawned_holds_for_those_that_are_forked() -> None:
    """All tests of the engine, in a process that has a nursery."""
    program = """
import pytest
with nursery():
    ended = pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_engine.py"], plugins=[tasks.Forking()])
sys.exit(ended)
"""
    done = subprocess.run([sys.executable, "-c", BEGIN + program], cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 0
