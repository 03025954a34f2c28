"""Dask's workers as an executor: those of a scheduler that runs already, or jobs that are asked of SLURM.

The only user of distributed and dask_jobqueue, which the extra `cluster` installs. Dask says where a task runs; it runs
in a process like the local ones (`place.run_there`), so that a task's death or hunger does the same everywhere.
"""

import contextlib
import functools
import importlib
import logging
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from pipeline.contract import UserError
from pipeline.engine_params import ClusterParams, EngineParams
from pipeline.workers.limits import Limits
from pipeline.workers.place import NobodyWorksError, Place, run_there, shared_place
from pipeline.workers.processes import WorkerFailedError

Given = ParamSpec("Given")
Result = TypeVar("Result")

_LOGS = Path("data/work/jobs")
_LOOK_EVERY_S = 5.0
_ALONE_S = 120.0
"""So long a scheduler that others run may be without any worker."""

_CONNECT_S = 10
_BEFORE_THE_END_S = 180
"""So long before a job's end its worker is asked to take no more tasks."""


@contextlib.contextmanager
def dask_executor(engine: EngineParams, limits: Limits, label: str) -> Iterator[Executor]:
    """Dask's workers; what was asked of SLURM is given back when the block ends.

    A task's future raises `NobodyWorksError` if its worker cannot take part, or if no worker is left.

    Raises:
        UserError: if the extra is not installed, no scheduler answers, or SLURM refuses.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says is said here, in one line
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(shared_place(limits))
        jobs = engine.cluster.jobs if engine.cluster else 0
        cluster = stack.enter_context(slurm_cluster(engine.cluster)) if engine.cluster else None
        client = stack.enter_context(_client(cluster or engine.address))
        yield stack.enter_context(
            _Tasks(client, place, label, functools.partial(cluster.scale, jobs=jobs) if cluster else None)
        )


def slurm_cluster(asked: ClusterParams) -> Any:
    """A `SLURMCluster`: a scheduler in this process, for workers in SLURM jobs, none of which has been asked for yet.

    Raises:
        UserError: if there is no SLURM here, or it refuses such a job.
    """
    dask_jobqueue = _imported("dask_jobqueue")
    days, _, clock = asked.walltime.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    lasts_s = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    lifetime_s = max(lasts_s - _BEFORE_THE_END_S, lasts_s // 2)
    cluster = dask_jobqueue.SLURMCluster(
        cores=asked.cores,
        processes=1,  # a Dask worker a job, with a thread a core, each of which keeps a process of ours
        memory=asked.memory,
        walltime=asked.walltime,
        queue=asked.queue,
        account=asked.account,
        interface=asked.interface,
        job_extra_directives=asked.directives,
        job_script_prologue=asked.prologue,
        worker_extra_args=["--lifetime", f"{lifetime_s}s", "--lifetime-stagger", f"{min(60, lifetime_s // 10)}s"],
        job_name="cct",
        log_directory=str(_LOGS),
        scheduler_options={"dashboard": False},
    )
    try:
        _refuse_what_slurm_refuses(cluster.job_script())
    except BaseException:
        cluster.close()
        raise
    return cluster


def _refuse_what_slurm_refuses(script: str) -> None:
    """Dask would log a refusal and wait for ever."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        try:
            done = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise UserError(
                "engine.cluster: there is no sbatch on this machine; start from one where SLURM jobs can be submitted"
            ) from None
    if done.returncode:
        raise UserError(f"engine.cluster: sbatch refuses such a job: {' '.join(done.stderr.split())}")


def _client(scheduler: Any) -> Any:
    distributed = _imported("distributed")
    try:
        return distributed.Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # its time-out is an OSError
        raise UserError(f"engine.address: no Dask scheduler answers at {scheduler} ({error})") from None


def _imported(name: str) -> Any:
    handler = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"engine.kind is dask, but {error.name} is not installed; `pip install .[cluster]`, or set it to local"
        ) from None
    finally:
        signal.signal(signal.SIGINT, handler)  # importing dask_jobqueue 0.9 makes Ctrl-C exit with code 0


class _Tasks(Executor):
    """Dask's own executor, for tasks that run as `run_there` does, and with errors that say what to do."""

    def __init__(self, client: Any, place: Place, label: str, keep: Callable[[], None] | None) -> None:
        self._client, self._place, self._label, self._keep = client, place, label, keep
        self._tasks = client.get_executor(pure=False)
        self._open: set[Future[Any]] = set()
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def submit(
        self, function: Callable[Given, Result], /, *arguments: Given.args, **keywords: Given.kwargs
    ) -> "Future[Result]":
        """Sends a task to a worker."""
        future: Future[Result] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dask prefers small tasks; those of the stage shard have their samples
            sent = self._tasks.submit(run_there, self._place, pickle.dumps((function, arguments, keywords)))
        sent.add_done_callback(functools.partial(_hand_on, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends at once if `cancel_futures`: what is under way on other machines goes on there, and is in vain."""
        self._ending.set()
        self._tasks.shutdown(wait=wait and not cancel_futures)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)

    def _watch(self) -> None:
        """Says who works, asks for lost jobs anew, and gives up when nobody comes."""
        before, since_s = -1, time.monotonic()
        while not self._ending.is_set():
            try:
                threads = self._client.nthreads()
                if self._keep is not None:
                    self._keep()
            except Exception as error:
                self._give_up(f"the Dask scheduler does not answer any more ({error})")
                return
            if len(threads) != before:
                before, since_s = len(threads), time.monotonic()
                together = f"{before} Dask worker{'s' * (before > 1)} with {sum(threads.values())} threads"
                self._say(together if before else self._waiting())
            if not before and self._keep is None and time.monotonic() - since_s > _ALONE_S:
                self._give_up(f"the Dask scheduler has had no worker for {_ALONE_S:g} s; start some (docs/cluster.md)")
                return
            self._ending.wait(_LOOK_EVERY_S)

    def _waiting(self) -> str:
        return "waiting for Dask workers" if self._keep is None else f"waiting for SLURM jobs (their logs: {_LOGS})"

    def _say(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr, flush=True)

    def _give_up(self, reason: str) -> None:
        for future in list(self._open):
            with contextlib.suppress(InvalidStateError):
                future.set_exception(NobodyWorksError(reason))


def _hand_on(future: "Future[Any]", sent: "Future[Any]") -> None:
    """Gives a task's outcome to the future that its caller has."""
    with contextlib.suppress(InvalidStateError):
        if sent.cancelled():
            future.set_exception(NobodyWorksError("the Dask scheduler was lost, and its tasks with it"))
        elif error := sent.exception():
            future.set_exception(_explained(error))
        else:
            future.set_result(sent.result())


def _explained(error: BaseException) -> BaseException:
    if type(error).__name__ == "KilledWorker":
        times = getattr(error, "allowed_failures", 0) + 1
        return WorkerFailedError(f"the Dask workers that worked on it died, {times} in a row")
    if isinstance(error, ModuleNotFoundError) or isinstance(error.__cause__, ModuleNotFoundError):
        return NobodyWorksError(
            "Dask's scheduler or a worker cannot import this project's code; start them with the project's environment "
            f"(docs/cluster.md): {error.__cause__ or error}"
        )
    return error
