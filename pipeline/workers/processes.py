"""A `concurrent.futures` executor of processes that are isolated from each other.

One that dies costs the task it worked on, is replaced, and breaks nothing else; the standard library's pool fails as a
whole (docs/decisions/017).
"""

import collections
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from pipeline.contract import UserError
from pipeline.workers import child, nursery
from pipeline.workers.limits import Limits, Watch

Given = ParamSpec("Given")
Result = TypeVar("Result")

_LOOK_EVERY_S = 0.1
_IDLE_S = 60.0
_PATIENCE_S = 5.0


class WorkerFailedError(UserError):
    """The process that worked on a task died, or was ended because it exceeded a limit."""


class _DiedError(WorkerFailedError):
    """It ended unasked. That may have been chance, or another's hunger for memory: the task is tried once more."""


@dataclass(kw_only=True, eq=False)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    future: "Future[Any]" = field(default_factory=Future)
    tried: bool = False


class Processes(Executor):
    """So many processes of one thread, started when there is work; each takes one task at a time.

    Tasks are pickled when their turn comes and find functions by name: they belong in modules. What they raise arrives
    as `UserError` or OSError, what ends their process as `WorkerFailedError`. A task whose process died is tried once
    more, after those that wait. `shutdown(cancel_futures=True)`, or an error in the `with` block, ends at once.
    """

    def __init__(self, count: int, *, limits: Limits, folder: Path | None = None, modules: Sequence[str] = ()) -> None:
        """Starts nothing yet.

        Args:
            count: of processes, at most.
            limits: for each task.
            folder: where they work; None for this process's.
            modules: what the tasks will import, for a nursery to load meanwhile.
        """
        if ours := nursery.current():
            ours.load(modules)
        self._waiting: collections.deque[_Call] = collections.deque()
        self._changed = threading.Condition()
        self._closing = self._cancelled = False
        self._workers = [_Worker(limits, folder) for _ in range(count)]
        self._threads = [threading.Thread(target=self._serve, args=(each,), daemon=True) for each in self._workers]
        for thread in self._threads:
            thread.start()

    def submit(
        self, function: Callable[Given, Result], /, *arguments: Given.args, **keywords: Given.kwargs
    ) -> "Future[Result]":
        """Queues a task."""
        call = _Call(function=function, arguments=arguments, keywords=keywords)
        with self._changed:
            if self._closing:
                raise RuntimeError("cannot submit after shutdown")
            self._waiting.append(call)
            self._changed.notify()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes: when all is done, or at once, with what they work on, if `cancel_futures`."""
        with self._changed:
            self._closing, self._cancelled = True, self._cancelled or cancel_futures
            dropped = list(self._waiting) if cancel_futures else []
            for call in dropped:
                self._waiting.remove(call)
            self._changed.notify_all()
        for call in dropped:
            call.future.cancel()
        for worker in self._workers if cancel_futures else []:
            worker.kill()
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)

    def _serve(self, worker: "_Worker") -> None:
        """One worker's thread. It lives longer than its processes: Linux's death signal is about threads."""
        while (call := self._next()) or not self._closing:
            if call is None:
                worker.stop()
            elif call.tried or call.future.set_running_or_notify_cancel():
                self._settle(worker, call)
        worker.stop()

    def _next(self) -> _Call | None:
        """The next task; None if there was none for a minute, or if none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, _IDLE_S)
            return self._waiting.popleft() if self._waiting else None

    def _settle(self, worker: "_Worker", call: _Call) -> None:
        try:
            result = worker.run(call)
        except BaseException as error:
            if not (isinstance(error, _DiedError) and self._again(call)):
                call.future.set_exception(error)
        else:
            call.future.set_result(result)

    def _again(self, call: _Call) -> bool:
        """Queues a task once more; False if it was tried before, or if nothing is to be done any more."""
        with self._changed:
            if call.tried or self._cancelled:
                return False
            call.tried = True
            self._waiting.append(call)
            self._changed.notify()
            return True


_Process = subprocess.Popen[bytes] | nursery.Forked


class _Worker:
    """One process at a time, started when it is needed and replaced when it has died. Belongs to one thread."""

    def __init__(self, limits: Limits, folder: Path | None) -> None:
        self._limits, self._folder = limits, folder
        self._running: tuple[_Process, Connection[bytes, bytes]] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def run(self, call: _Call) -> Any:
        """Has a task done; raises its error, or `WorkerFailedError`."""
        content = pickle.dumps((call.function, call.arguments, call.keywords))
        process, connection = self._running or self._start()
        watch = Watch(pid=process.pid, limits=self._limits)
        try:
            connection.send_bytes(content)
            while not connection.poll(_LOOK_EVERY_S):
                if exceeded := watch.exceeded():
                    self._end()
                    raise WorkerFailedError(exceeded)
            went_well, outcome = pickle.loads(connection.recv_bytes())
        except (EOFError, ConnectionError):
            self._end()
            raise _DiedError(_death(process.returncode or 0)) from None
        if not went_well:
            raise outcome
        return outcome

    def stop(self) -> None:
        """Lets an idle process end."""
        if self._running is not None:
            process, connection = self._running
            connection.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            self._end()

    def kill(self) -> None:
        """Ends the process, whatever it does; none takes its place. May be called by any thread."""
        with self._lock:
            self._ended = True
            if self._running is not None:
                self._running[0].kill()

    def _end(self) -> None:
        with self._lock:
            if self._running is not None:
                process, connection = self._running
                process.kill()
                process.wait()
                connection.close()
                self._running = None

    def _start(self) -> tuple[_Process, "Connection[bytes, bytes]"]:
        with self._lock:
            if self._ended:
                raise WorkerFailedError("no process was started, because all were to end")
            ours, theirs = Pipe()
            with theirs:
                process = self._forked(theirs) or self._spawned(theirs.fileno())
            self._running = process, ours
            return process, ours

    def _forked(self, connection: "Connection[bytes, bytes]") -> nursery.Forked | None:
        ours = nursery.current() if self._folder is None else None
        return ours.fork(connection) if ours else None

    def _spawned(self, descriptor: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", child.__name__, str(descriptor), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            cwd=self._folder,
            env=os.environ | child.ENVIRONMENT,
            pass_fds=[descriptor],
        )


def _death(code: int) -> str:
    """How a process ended that was not asked to, by its exit code."""
    if code == -signal.SIGKILL:
        return "its worker process was killed twice, most likely for lack of memory; lower engine.workers"
    if code < 0:
        return f"its worker process crashed twice ({signal.Signals(-code).name})"
    return f"its worker process ended twice, with exit code {code}"
