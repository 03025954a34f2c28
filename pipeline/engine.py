"""One task over many videos on a `concurrent.futures` executor: failures counted, listed, and within a budget."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline import disk
from pipeline.ancestors import die_with_parent
from pipeline.contract import UserError
from pipeline.params import EngineParams
from pipeline.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}
"""One thread a process, so that cores are not oversubscribed; a decoder's complaints become our own messages."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item that could not be done, and why in one line."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Tally(Generic[Result]):
    """Results by item name, in the order of the items, and the failures."""

    results: dict[str, Result]
    failures: list[Failure]


def worker_count(workers: int) -> int:
    """0 means as many as this process may use cores."""
    return workers or len(os.sched_getaffinity(0))


def run_all(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    name: Callable[[Item], str],
    label: str,
    unit: str,
    engine: EngineParams,
    max_failures: int | None = None,
) -> Tally[Result]:
    """Runs `task` on every item in worker processes of one thread each.

    Args:
        task: a module-level function; what it raises is that item's failure.
        items: picklable; their names are unique.
        name: an item's name, for messages and results.
        label: what the progress line says.
        unit: plural noun of the items.
        engine: how many processes, and how many items may fail.
        max_failures: replaces `engine.max_failures` for work that allows none.

    Raises:
        UserError: if more items fail, if a worker process dies, or if the disk refuses.
    """
    results: dict[str, Result] = {}
    failures: dict[str, Failure] = {}
    budget = engine.max_failures if max_failures is None else max_failures
    processes = max(1, min(worker_count(engine.workers), len(items)))
    with (
        _environment(_WORKER_ENVIRONMENT),
        concurrent.futures.ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), initializer=_prepare_worker
        ) as pool,
        Progress(label, len(items), unit=unit) as progress,
    ):
        futures = {pool.submit(_sendable, task, item): name(item) for item in items}
        try:
            for future in concurrent.futures.as_completed(futures):
                item_name = futures[future]
                try:
                    results[item_name] = future.result()
                except Exception as error:
                    failures[item_name] = Failure(name=item_name, reason=_reason(error))
                    _check_budget(list(failures.values()), budget, label)
                progress.step(note=f"{len(failures)} failed" if failures else "")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # waits for what is under way: it writes where callers tidy up
            raise
    order = [name(item) for item in items]
    return Tally(
        results={key: results[key] for key in order if key in results},
        failures=[failures[key] for key in order if key in failures],
    )


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables for processes started in the block; they are read while a new process imports its libraries."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _sendable(task: Callable[[Item], Result], item: Item) -> Result:
    """Runs the task in the worker. Errors of other libraries are sent as text: one that cannot be unpickled would
    break the pool."""
    try:
        return task(item)
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(_told(error)) from None


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _reason(error: Exception) -> str:
    """One line about an item's failure; raises instead where going on would be useless."""
    if isinstance(error, BrokenProcessPool):
        raise UserError(
            "a worker process died, most likely for lack of memory; lower engine.workers and start again: "
            "finished videos are not redone"
        ) from error
    if isinstance(error, OSError) and disk.ends_all(error):
        raise UserError(disk.told(error)) from error
    return _told(error)


def _check_budget(failures: Sequence[Failure], max_failures: int, label: str) -> None:
    if len(failures) <= max_failures:
        return
    listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:5])
    raise UserError(f"{label}: {len(failures)} failed, more than engine.max_failures = {max_failures}: {listed}")
