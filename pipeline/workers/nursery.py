"""A process that forks workers which are ready at once: what a stage has loaded need not be loaded again.

Starting Python with the libraries takes a worker the better part of a second, and two more if it needs torch. A fork
takes milliseconds and shares that memory; but a process may be forked only while it has one thread. So a stage forks
the nursery before anything else (`nursery`), and the nursery does nothing but load modules and fork
(docs/decisions/018).
"""

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import subprocess
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from pipeline.ancestors import die_with_parent
from pipeline.workers import child

_LOAD, _FORK, _KILL = b"load ", b"fork", b"kill"
_LONGEST = 4096
"""Bytes of a message."""


class Forked:
    """A worker that the nursery forked, as far as it is used like a `subprocess.Popen`."""

    def __init__(self, control: socket.socket) -> None:
        """Raises OSError if the nursery has ended."""
        self._control = control
        self.returncode: int | None = None
        told = control.recv(_LONGEST)
        if not told:
            raise ConnectionResetError("the nursery has ended")
        self.pid = int(told)

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        with contextlib.suppress(OSError):
            self._control.send(_KILL)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended: its exit code, or the negative of a signal. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._control.settimeout(timeout)
            try:
                told = self._control.recv(_LONGEST)
            except TimeoutError:
                raise subprocess.TimeoutExpired("worker", timeout or 0) from None
            except ConnectionError:
                told = b""
            self.returncode = int(told) if told else -signal.SIGKILL  # workers end with their nursery
            self._control.close()
        return self.returncode


class Nursery:
    """This process's nursery, as seen from here. Any thread may ask it for a worker."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    def load(self, modules: Sequence[str]) -> None:
        """Has modules loaded, for all workers that are forked afterwards. Does not wait for it."""
        with contextlib.suppress(OSError):
            self._requests.send(_LOAD + " ".join(modules).encode())

    def fork(self, connection: "Connection[bytes, bytes]") -> Forked | None:
        """A worker at the other end of this connection; None if the nursery has ended."""
        ours, theirs = _pair()
        try:
            with theirs:
                socket.send_fds(self._requests, [_FORK], [connection.fileno(), theirs.fileno()])
            return Forked(ours)
        except OSError:
            ours.close()
            return None


_nursery: Nursery | None = None


def current() -> Nursery | None:
    """The nursery of this process, if it has one."""
    return _nursery


@contextlib.contextmanager
def nursery() -> Iterator[None]:
    """Gives this process a nursery for as long as the block lasts, unless it has threads already."""
    global _nursery
    if not _is_single():
        yield
        return
    ours, theirs = _pair()
    parent, pid = os.getpid(), os.fork()
    if not pid:
        ours.close()
        _serve(theirs, parent)
    theirs.close()
    _nursery = Nursery(ours)
    try:
        yield
    finally:
        _nursery = None
        ours.close()  # it ends then
        os.waitpid(pid, 0)


def _is_single() -> bool:
    """Whether this process has one thread, libraries' own included, on a system that can tell and can watch a fork."""
    threads = Path("/proc/self/task")
    return hasattr(os, "pidfd_open") and threads.is_dir() and len(list(threads.iterdir())) == 1


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve(requests: socket.socket, parent: int) -> NoReturn:
    """The nursery's life: it ends with its parent, or when that closes its end; its workers end with it."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent(parent)
        os.environ.update(child.ENVIRONMENT)
        _work(requests)
    finally:
        os._exit(0)


def _work(requests: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    _attend(selector, key.fileobj, key.data)
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 2)
                if not message:
                    return
                if message == _FORK:
                    _fork(selector, *descriptors)
                else:
                    _load(message.removeprefix(_LOAD).decode().split())


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        with contextlib.suppress(Exception):  # the task that needs it will say what is wrong
            importlib.import_module(module)


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A worker as the nursery knows it: a descriptor that becomes readable when it ends, and who wants to know."""

    pid: int
    ended: int
    control: socket.socket
    lives: bool = True


def _fork(selector: selectors.BaseSelector, tasks: int, control: int) -> None:
    gc.freeze()  # else workers that collect garbage would make copies of what they share
    nursery, pid = os.getpid(), os.fork()
    if not pid:
        os.close(control)
        _live(selector, nursery, tasks)
    os.close(tasks)
    worker = _Worker(pid=pid, ended=os.pidfd_open(pid), control=socket.socket(fileno=control))
    with contextlib.suppress(OSError):
        worker.control.send(str(pid).encode())
    selector.register(worker.ended, selectors.EVENT_READ, worker)
    selector.register(worker.control, selectors.EVENT_READ, worker)


def _live(selector: selectors.BaseSelector, nursery: int, tasks: int) -> NoReturn:
    """A worker's life."""
    code = 1
    try:
        die_with_parent(nursery)
        for key in list(selector.get_map().values()):
            os.close(key.fd)
        selector.close()
        child.work(Connection(tasks))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _attend(selector: selectors.BaseSelector, source: object, worker: _Worker) -> None:
    """Ends a worker if its owner says so, or is gone; tells the owner when it has ended."""
    if source is worker.control:
        if not _received(worker.control):
            selector.unregister(worker.control)
            worker.control.close()
        if worker.lives:
            os.kill(worker.pid, signal.SIGKILL)
    else:
        _, status = os.waitpid(worker.pid, 0)
        worker.lives = False
        selector.unregister(worker.ended)
        os.close(worker.ended)
        with contextlib.suppress(OSError):
            worker.control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _received(control: socket.socket) -> bytes:
    """The owner's word; nothing if it is gone."""
    try:
        return control.recv(_LONGEST)
    except ConnectionError:
        return b""
