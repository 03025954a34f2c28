"""Ranks of one machine, started by the stage itself: what torchrun does, with one line when something goes wrong."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from pipeline.ancestors import ends_by_itself
from pipeline.contract import UserError
from pipeline.stage import ERRORS, SignalledError
from train.interruption import SIGNALS

SUPERVISED = "CCT_SUPERVISED"
"""Set in the environment of ranks whose supervisor holds the stage's lock."""

_TORCHRUN = "TORCHELASTIC_"
"""Begins what torchrun tells its processes: where they meet, for one. Ranks that one of them starts meet elsewhere."""

_POLL_S = 0.2
_PIPE = 1 << 16
"""What a pipe holds; errors are a few lines."""
_PATIENCE_S = 20.0
"""What the other ranks are given to notice that one has ended."""


def is_rank() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_alone() -> bool:
    """Whether this process has to make sure that no other run of the stage works: of several, the first has."""
    return os.environ.get("RANK", "0") == "0" and SUPERVISED not in os.environ


def supervise(module: str, ranks: int) -> None:
    """Runs `python -m module` as so many ranks, and returns when all are done.

    Signals are passed on. A rank that fails ends all.

    Raises:
        UserError: what the ranks told, each line once, else naming the one that ended first; all have ended then.
        SignalledError: if the ranks ended because they were asked to.
    """
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(ranks), SUPERVISED: "1"}
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks)))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_TORCHRUN)}
    reading, writing = os.pipe()
    address |= {"OMP_NUM_THREADS": threads, ERRORS: str(writing)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module],
            env=inherited | address | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            pass_fds=[writing],
            start_new_session=True,  # Ctrl-C at the terminal reaches the ranks through this process alone
        )
        for rank in range(ranks)
    ]
    asked = _passing_on(started)
    try:
        failed = _first_failure(started)
        if failed is not None:
            _wait(started, _PATIENCE_S)
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.wait()
        os.close(writing)
        errors = _told(reading)
    if failed is None:
        return
    code = started[failed].returncode
    if asked and code in (128 + asked[0], -asked[0]):  # the latter if it came before the rank was ready for it
        raise SignalledError(asked[0])
    if code == 1 and errors:
        raise UserError("\n".join(errors))
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise UserError(
        f"rank {failed} of {ranks} {how}; all ranks were ended. Start again to go on where the last snapshot was taken"
    )


def _told(reading: int) -> list[str]:
    """The different lines in a pipe; its other end may still be held open by a loader's worker that is about to end."""
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        return list(dict.fromkeys((pipe.read(_PIPE) or b"").decode().splitlines()))


def _passing_on(started: "list[subprocess.Popen[bytes]]") -> list[int]:
    """From now on every signal goes to the ranks; returns the list that they are noted in."""
    asked: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for each in started:
            if each.poll() is None:
                each.send_signal(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    ends_by_itself(SIGNALS)
    return asked


def _first_failure(started: "list[subprocess.Popen[bytes]]") -> int | None:
    """Waits until a rank fails, or until all have ended well."""
    while True:
        codes = [each.poll() for each in started]
        failures = [rank for rank, code in enumerate(codes) if code]
        if failures:
            return min(
                failures, key=lambda rank: (codes[rank] or 0) > 0
            )  # one that was killed says more than one that noticed
        if all(code == 0 for code in codes):
            return None
        time.sleep(_POLL_S)


def _wait(started: "list[subprocess.Popen[bytes]]", seconds: float) -> None:
    ends_s = time.monotonic() + seconds
    while any(each.poll() is None for each in started) and time.monotonic() < ends_s:
        time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
