"""Tasks for the engine's tests, in a module of few imports: worker processes load it."""

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

from pipeline.contract import UserError

ITEMS = list("abcdef")


class AwkwardError(Exception):
    """Cannot be unpickled, like some libraries' errors: its constructor wants more than it passes on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def slower_the_earlier(item: str) -> str:
    time.sleep(0.05 * (len(ITEMS) - ITEMS.index(item)))
    return item.upper()


def begun(item: str) -> float:
    """When, on a clock that all processes share."""
    return time.monotonic()


def fails_on_vowels(item: str) -> str:
    if item == "a":
        raise UserError("a.mp4: not a video")
    if item == "e":
        raise ValueError("two\nlines")
    return item


def dies(item: str) -> str:
    """`killed`, `crashes` and `exits` end the process; `once FILE` does so only the first time."""
    how, _, path = item.partition(" ")
    if how == "exits":
        os._exit(3)
    if how == "crashes":
        signal.raise_signal(signal.SIGSEGV)
    if how == "killed" or (how == "once" and not Path(path).exists()):
        if path:
            Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def waits_to_be_killed(item: str) -> str:
    """The path of a file: the first time, writes the SLURM job's number there and does not end by itself."""
    path = Path(item)
    if path.is_absolute() and not path.exists():
        path.write_text(os.environ["SLURM_JOB_ID"])
        time.sleep(300)
    return item


def fills_the_disk(item: str) -> str:
    raise OSError(errno.ENOSPC, "No space left on device", f"data/{item}")


def is_awkward(item: str) -> str:
    if item == "b":
        raise AwkwardError(1, "text")
    return item


def returns_what_cannot_be_sent(item: str) -> object:
    return (lambda: item) if item == "b" else item


def tells_its_surroundings(item: str) -> dict[str, Any]:
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "int": signal.getsignal(signal.SIGINT)}


def linger(path: str) -> None:
    """Says that it lives, again and again."""
    while True:
        with Path(path).open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.02)


def stands_still(item: str) -> str:
    """Each in its own way: in a system call, in Python, in the decoder that waits for a pipe's first byte.

    `fails` does not; it raises an error.
    """
    if item == "fails":
        raise UserError("fails")
    if item == "sleeps":
        time.sleep(3600)
    if item == "spins":
        while True:
            pass
    if item.endswith(".mp4"):
        import cv2

        cv2.VideoCapture(item)
    return item


def moves_slowly(path: str) -> str:
    """Several times longer than a limit of 0.3 s, with a byte now and then."""
    with Path(path).open("w", buffering=1) as stream:
        for _ in range(10):
            time.sleep(0.1)
            stream.write("\n")
    return path


def grows(item: str) -> int:
    """Takes so many megabytes of memory, bit by bit."""
    held = []
    for _ in range(int(item)):
        held.append(b"x" * 1_000_000)
        time.sleep(0.001)
    return len(held)


def kills_what_started_it(item: str) -> str:
    """`us` ends the process that started this one: a Dask worker; `killed` this one alone."""
    if item == "us":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)
    return dies(item)


def cannot_be_read(item: str) -> None:
    raise OSError(errno.EIO, "bad sector", f"data/{item}")
