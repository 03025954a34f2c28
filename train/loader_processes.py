"""Processes that decode for a training: what they do about signals, and how their end is told."""

import atexit
import contextlib
import functools
import multiprocessing
import signal
from collections.abc import Iterator

import cv2

from pipeline.ancestors import die_with_parent
from pipeline.contract import UserError
from train.interruption import ignore_signals

_LOST = (
    "a process that decodes pictures was killed (out of memory?); start again to go on from the last snapshot, "
    "with fewer `workers` if it happens again"
)


def prepare(_worker: int) -> None:
    """For `worker_init_fn` of torch's DataLoader: one thread, no signals, no life without the trainer."""
    cv2.setNumThreads(0)
    ignore_signals()
    die_with_parent()


@functools.cache
def end_at_exit() -> None:
    """Python ends its processes by SIGTERM, which these ignore, and would wait for them for ever."""
    atexit.register(_end)


def _end() -> None:
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


@contextlib.contextmanager
def telling_lost_ones(*others: type[Exception]) -> Iterator[None]:
    """Makes a `UserError` of the end of such a process, which torch tells by an error of its own, anywhere within.

    Args:
        others: what else can only mean such an end, where pictures are waited for.
    """
    told_by: tuple[type[Exception], ...] = (RuntimeError, *others)
    try:
        yield
    except told_by as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would tell it once more, in the midst of putting in order
        raise UserError(_LOST) from None
