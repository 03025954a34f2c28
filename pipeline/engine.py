"""One task over many videos on a `concurrent.futures` executor: failures counted, listed, and within a budget."""

import concurrent.futures
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline import disk
from pipeline.contract import Drop, UserError
from pipeline.engine_params import EngineParams
from pipeline.progress import Progress
from pipeline.workers.child import told
from pipeline.workers.cluster import dask_executor
from pipeline.workers.limits import Limits
from pipeline.workers.place import NobodyWorksError
from pipeline.workers.processes import Processes, WorkerFailedError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item that could not be done, and why in one line.

    `died`: its process crashed or was ended, rather than that the task raised an error.
    """

    name: str
    reason: str
    died: bool = False

    def drop(self, otherwise: Drop) -> Drop:
        """The typed reason of what is left out for it; `otherwise` where the task raised an error."""
        return Drop.WORKER_FAILED if self.died else otherwise


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
    size: Callable[[Item], int] = lambda item: 0,
    modules: Sequence[str] = (),
    max_failures: int | None = None,
) -> Tally[Result]:
    """Runs `task` on every item in worker processes of one thread each.

    Args:
        task: a module-level function; what it raises, or the death of its process, is that item's failure.
        items: picklable; their names are unique.
        name: an item's name, for messages and results.
        label: what the progress line says.
        unit: plural noun of the items.
        engine: where, in how many processes, within which limits, and how many items may fail.
        size: how much there is to do for an item: the largest are begun first, so that all workers end together.
        modules: what the task imports when it runs, besides what its own module imports.
        max_failures: replaces `engine.max_failures` for work that allows none.

    Raises:
        UserError: if more items fail, if the disk refuses, or if there is nobody to do the work.
    """
    results: dict[str, Result] = {}
    failures: dict[str, Failure] = {}
    budget = engine.max_failures if max_failures is None else max_failures
    with (
        _executor(engine, len(items), label, [task.__module__, *modules]) as pool,
        Progress(label, len(items), unit=unit) as progress,
    ):
        futures = {pool.submit(task, item): name(item) for item in sorted(items, key=size, reverse=True)}
        for future in concurrent.futures.as_completed(futures):
            item_name = futures[future]
            try:
                results[item_name] = future.result()
            except Exception as error:
                failures[item_name] = _failure(item_name, error)
                _check_budget(list(failures.values()), budget, label)
            progress.step(note=f"{len(failures)} failed" if failures else "")
    order = [name(item) for item in items]
    tally = Tally(
        results={key: results[key] for key in order if key in results},
        failures=[failures[key] for key in order if key in failures],
    )
    for failure in tally.failures:
        print(f"{label}: left out {failure.name}: {failure.reason}", file=sys.stderr, flush=True)
    return tally


def _executor(
    engine: EngineParams, items: int, label: str, modules: Sequence[str]
) -> AbstractContextManager[concurrent.futures.Executor]:
    limits = Limits(timeout_s=engine.timeout_s, memory_gb=engine.memory_gb)
    if engine.kind == "dask":
        return dask_executor(engine, limits, label)
    return Processes(min(worker_count(engine.workers), items), limits=limits, modules=modules)


def _failure(name: str, error: Exception) -> Failure:
    """An item's failure; raises instead where going on would be useless."""
    if isinstance(error, NobodyWorksError):
        raise error
    if isinstance(error, OSError) and disk.ends_all(error):
        raise UserError(disk.told(error)) from error
    return Failure(name=name, reason=told(error), died=isinstance(error, WorkerFailedError))


def _check_budget(failures: Sequence[Failure], max_failures: int, label: str) -> None:
    if len(failures) <= max_failures:
        return
    listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:5])
    raise UserError(f"{label}: {len(failures)} failed, more than engine.max_failures = {max_failures}: {listed}")
