"""No orphans: processes end when those that started them end, however they end. Without effect outside Linux."""

import ctypes
import multiprocessing
import os
import select
import signal
import threading
import time
from collections.abc import Collection
from pathlib import Path

from pipeline.contract import UserError

_PR_SET_PDEATHSIG = 1
_GRACE_S = 0.2
"""Until a signal that went to all processes of a job has reached this one too."""

_asked: tuple[int, frozenset[int]] | None = None
"""Where the numbers of signals can be read as they come, and which of them ask to end."""

_MARK = b"DVC_STAGE="
"""Begins a line of the environment that DVC gives to what it starts, and has not itself."""


def die_with_parent(parent: int | None = None) -> None:
    """Asks Linux to kill this process when the thread that started it ends.

    One that has lost its parent already ends at once, if its process id is given or multiprocessing knows it.
    """
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    spawner = multiprocessing.parent_process()
    if parent is None and spawner is not None:
        parent = spawner.pid
    if parent is not None and parent != os.getppid():
        os._exit(1)


def die_with_dvc() -> bool:
    """Ends this process when the DVC that started it ends, but see `ends_by_itself`; whether one did and is followed.

    DVC runs stages through the user's shell, which stays in between if it is one that does not replace itself by the
    command: that the stage's parent lives says nothing.

    Raises:
        UserError: if DVC has ended already.
    """
    if "DVC_STAGE" not in os.environ or not hasattr(os, "pidfd_open"):
        return False
    try:
        descriptor = os.pidfd_open(_dvc())
    except (ProcessLookupError, FileNotFoundError):
        raise UserError("DVC ended while it started this stage; run `dvc repro` again") from None
    except OSError:
        return False
    threading.Thread(target=_follow, args=(descriptor,), daemon=True).start()
    return True


def ends_by_itself(asked_by: Collection[int]) -> None:
    """Once one of these signals has come, DVC's end does not matter any more: this process saves its work and ends.

    The signal counts when it arrives, even if Python is in the midst of a long operation.
    """
    global _asked
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _asked = (reading, frozenset(asked_by))


def _dvc() -> int:
    """The nearest ancestor without DVC's mark. Raises ProcessLookupError if that is who adopts orphans instead."""
    pid = os.getppid()
    while _is_marked(pid):
        pid = _parent(pid)
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"dvc" not in command and b"python" not in command:
        raise ProcessLookupError(pid)
    return pid


def _is_marked(pid: int) -> bool:
    try:
        return any(line.startswith(_MARK) for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except PermissionError:
        return False  # somebody else's process; DVC's children are ours


def _parent(pid: int) -> int:
    """The fourth field of /proc/PID/stat; the second is a name in parentheses, which may hold anything."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _follow(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()
    if not _is_asked_to_end():
        os.kill(os.getpid(), signal.SIGKILL)


def _is_asked_to_end() -> bool:
    until_s = time.monotonic() + _GRACE_S
    while _asked and select.select([_asked[0]], [], [], max(0.0, until_s - time.monotonic()))[0]:
        if _asked[1] & set(os.read(_asked[0], 1024)):
            return True
    return False
