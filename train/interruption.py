"""Signals that ask a run to end: the step under way is finished and saved first."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a batch system's end of time, and its warning before."""


class Interruption:
    """Remembers the first signal; `number` is 0 until one came."""

    def __init__(self) -> None:
        self.number = 0

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Catches the signals for the block's length. A second one does at once what it did before the block."""
        former: dict[int, Any] = {}

        def note(number: int, _frame: FrameType | None) -> None:
            self.number = number
            print("train: asked to end; finishing this step and saving", file=sys.stderr, flush=True)
            restore()

        def restore() -> None:
            for each, handler in former.items():
                signal.signal(each, handler)

        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                former[each] = signal.signal(each, note)
        try:
            yield
        finally:
            restore()


def ignore_signals() -> None:
    """For worker processes: a batch system signals all of them, but only the one that they work for decides."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
