"""The engine with real worker processes: order, failures within a budget, deaths, and what is said meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import engine, progress
from pipeline.contract import UserError
from pipeline.engine import Failure, Tally
from pipeline.engine_params import EngineParams
from tests.engine_tasks import (
    ITEMS,
    begun,
    cannot_be_read,
    dies,
    fails_on_vowels,
    fills_the_disk,
    grows,
    is_awkward,
    moves_slowly,
    returns_what_cannot_be_sent,
    slower_the_earlier,
    stands_still,
    tells_its_surroundings,
)

ORPHAN = """
import sys
from tests.engine_tasks import linger
from tests.test_engine import run
if __name__ == "__main__":
    run(linger, [sys.argv[1]], workers=1)
"""


def run(
    task: Any,
    items: list[str] = ITEMS,
    *,
    workers: int = 2,
    max_failures: int = 0,
    timeout_s: float | None = None,
    memory_gb: float | None = None,
) -> Tally[Any]:
    how = EngineParams(
        kind="local",
        workers=workers,
        max_failures=max_failures,
        timeout_s=timeout_s,
        memory_gb=memory_gb,
        address=None,
        cluster=None,
    )
    return engine.run_all(task, items, name=str, label="align", unit="videos", engine=how)


def test_results_come_in_the_order_of_the_items() -> None:
    tally = run(slower_the_earlier)
    assert list(tally.results.items()) == [(item, item.upper()) for item in ITEMS]
    assert tally.failures == []


def test_the_largest_items_are_begun_first() -> None:
    how = EngineParams(
        kind="local", workers=1, max_failures=0, timeout_s=None, memory_gb=None, address=None, cluster=None
    )
    items = ["aa", "a", "aaaa", "aaa"]
    tally = engine.run_all(begun, items, name=str, label="align", unit="videos", engine=how, size=len)
    assert list(tally.results) == items
    assert sorted(items, key=tally.results.__getitem__) == ["aaaa", "aaa", "aa", "a"]


def test_nothing_to_do_is_done() -> None:
    assert run(slower_the_earlier, []) == Tally(results={}, failures=[])


def test_failures_within_the_budget_are_listed_in_order_in_one_line_each() -> None:
    tally = run(fails_on_vowels, ["e", "b", "a", "c"], max_failures=2)
    assert list(tally.results) == ["b", "c"]
    assert tally.failures == [
        Failure(name="e", reason="ValueError: two lines"),
        Failure(name="a", reason="a.mp4: not a video"),
    ]


def test_one_failure_too_many_stops_and_names_them() -> None:
    with pytest.raises(UserError) as caught:
        run(fails_on_vowels, max_failures=1)
    message = str(caught.value)
    assert message.startswith("align: 2 failed, more than engine.max_failures = 1: ")
    assert "a: a.mp4: not a video" in message and "e: ValueError: two lines" in message
    assert "\n" not in message


@pytest.mark.timeout(60)
def test_the_death_of_a_worker_costs_the_item_that_it_worked_on_and_no_other() -> None:
    tally = run(dies, ["a", "killed", "b", "crashes", "c", "exits", "d"], max_failures=3)
    assert list(tally.results) == ["a", "b", "c", "d"]
    assert all(failure.died for failure in tally.failures)
    assert [(failure.name, failure.reason) for failure in tally.failures] == [
        ("killed", "its worker process was killed twice, most likely for lack of memory; lower engine.workers"),
        ("crashes", "its worker process crashed twice (SIGSEGV)"),
        ("exits", "its worker process ended twice, with exit code 3"),
    ]


@pytest.mark.timeout(60)
def test_an_item_whose_worker_died_by_chance_is_done_by_another(tmp_path: Path) -> None:
    once = f"once {tmp_path / 'tried'}"
    assert run(dies, ["a", once, "b"]) == Tally(results={item: item for item in ("a", once, "b")}, failures=[])


@pytest.mark.timeout(60)
def test_deaths_count_as_failures() -> None:
    with pytest.raises(UserError, match=r"2 failed, more than engine\.max_failures = 1: .*exits: its worker process"):
        run(dies, ["killed", "exits", "a"], max_failures=1)


@pytest.mark.timeout(60)
def test_what_stands_still_is_ended_and_what_moves_slowly_is_not(tmp_path: Path) -> None:
    pipe, slow = str(tmp_path / "pipe.mp4"), str(tmp_path / "slow")
    os.mkfifo(pipe)
    tally = run(stands_still, ["a", "sleeps", "spins", pipe], workers=4, timeout_s=0.3, max_failures=3)
    assert list(tally.results) == ["a"]
    reason = "read and wrote nothing for longer than engine.timeout_s = 0.3 allows"
    assert tally.failures == [Failure(name=each, reason=reason, died=True) for each in ("sleeps", "spins", pipe)]
    assert list(run(moves_slowly, [slow], timeout_s=0.3).results) == [slow]


@pytest.mark.timeout(60)
def test_what_takes_too_much_memory_is_ended() -> None:
    tally = run(grows, ["100", "100000"], memory_gb=0.3, max_failures=1)
    assert tally.results == {"100": 100}
    reason = "took more memory than engine.memory_gb = 0.3 allows"
    assert tally.failures == [Failure(name="100000", reason=reason, died=True)]


@pytest.mark.timeout(60)
def test_an_error_ends_at_once_what_is_still_under_way() -> None:
    with pytest.raises(UserError, match="1 failed"):
        run(stands_still, ["sleeps", "fails"])


def test_a_full_disk_ends_the_run_whatever_the_budget() -> None:
    with pytest.raises(UserError, match="no space left on the file system"):
        run(fills_the_disk, ["a"], workers=1, max_failures=5)


def test_a_file_that_the_disk_cannot_read_is_its_items_failure() -> None:
    tally = run(cannot_be_read, ["a", "b"], workers=1, max_failures=2)
    said = [f"OSError: [Errno 5] bad sector: 'data/{item}'" for item in ("a", "b")]
    assert [failure.reason for failure in tally.failures] == said


def test_a_result_that_cannot_be_sent_is_that_items_failure() -> None:
    tally = run(returns_what_cannot_be_sent, ["a", "b", "c"], workers=1, max_failures=1)
    assert list(tally.results) == ["a", "c"]
    assert [failure.name for failure in tally.failures] == ["b"]


@pytest.mark.timeout(60)
def test_an_error_that_cannot_be_sent_is_that_items_failure() -> None:
    """Not taken for the death of a worker, which would be tried once more."""
    tally = run(is_awkward, ["a", "b", "c"], workers=1, max_failures=1)
    assert list(tally.results) == ["a", "c"]
    assert tally.failures == [Failure(name="b", reason="AwkwardError: text")]


def test_workers_have_one_thread_leave_interrupts_to_the_parent_and_are_no_more_than_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    (told,) = run(tells_its_surroundings, ["a"], workers=8).results.values()
    assert told["threads"] == "1"
    assert told["int"] is signal.SIG_IGN
    assert told["pid"] != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "7"


def test_no_count_of_workers_means_one_a_core() -> None:
    assert engine.worker_count(0) == len(os.sched_getaffinity(0))
    assert engine.worker_count(3) == 3


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_workers_die_with_their_killed_parent(tmp_path: Path) -> None:
    program, signs = tmp_path / "program.py", tmp_path / "signs"
    program.write_text(ORPHAN)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen([sys.executable, program, signs], env=environment, stderr=subprocess.DEVNULL) as parent:
        while not signs.exists():
            assert parent.poll() is None
            time.sleep(0.02)
        parent.kill()
    time.sleep(0.3)
    length = signs.stat().st_size
    time.sleep(0.2)
    assert signs.stat().st_size == length


def test_progress_is_said_in_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(fails_on_vowels, ["a", "b", "c"], workers=1, max_failures=1)
    said = capsys.readouterr()
    assert said.out == ""
    line, lost = said.err.splitlines()
    assert line.startswith("align: 3/3 videos, ") and "took" in line and line.endswith(", 1 failed")
    assert lost == "align: left out a: a.mp4: not a video"


def test_long_work_is_told_of_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pipeline.progress.time.monotonic", lambda: now[0])
    with progress.Progress("extract", 100, unit="videos") as counter:
        for _ in range(100):
            now[0] += 1
            counter.step()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "extract: 10/100 videos, 1.0/s, 1 min 30 s left"
    assert lines[-1] == "extract: 100/100 videos, 1.0/s, took 1 min 40 s"
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3600, "1 h 00 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
