"""The shell around every DVC stage: checked parameters, one run at a time, one-line errors, no orphans."""

import contextlib
import inspect
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline import disk
from pipeline.ancestors import die_with_dvc, die_with_parent
from pipeline.contract import RESULTS, UserError
from pipeline.files import sweep
from pipeline.locks import exclusive_lock
from pipeline.params import Params, load_params

LOCKS = Path("data/work/locks")
ERRORS = "CCT_ERRORS"
"""Names, in the environment of processes that work together, a descriptor for their errors: each is told once."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S = 2.0


class SignalledError(BaseException):
    """A signal asked this stage to end. Not an Exception, so that nothing mistakes it for a failure of its own work."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_stage(
    name: str,
    body: Callable[[Params], None],
    *,
    around: contextlib.AbstractContextManager[None] | None = None,
    alone: bool = True,
) -> None:
    """Runs a stage's body and exits.

    The exit code is 0 when it is done, 1 after errors, each a line on stderr, and 128 + N when signal N interrupted it:
    130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 where the body waits for it.

    Args:
        name: the stage's name in dvc.yaml.
        body: what it does.
        around: entered once no other run of the stage works, and left when the body has ended.
        alone: False for a process that works with another one that has made sure of that.
    """
    _help(name, body)
    try:
        _catch_signals()
        if not die_with_dvc() or ERRORS in os.environ:
            die_with_parent()
        params = load_params()
        busy = f"another run of stage {name} is still working in this folder; wait for it or end it"
        lock = exclusive_lock(LOCKS / f"{name}.lock", busy=busy) if alone else contextlib.nullcontext()
        with lock, around or contextlib.nullcontext():
            if alone:
                _sweep_outputs()
            body(params)
    except UserError as error:
        _fail(name, str(error))
    except OSError as error:
        line = disk.told(error)
        if line is None:
            raise
        _fail(name, line)
    except SignalledError as interrupt:
        print(f"{name}: interrupted; start again to go on where it stopped", file=sys.stderr)
        sys.exit(128 + interrupt.number)


def _help(name: str, body: Callable[[Params], None]) -> None:
    """A stage takes its orders from params.yaml alone; asked for help, or given anything else, it says so and ends."""
    if len(sys.argv) < 2:
        return
    module = getattr(sys.modules["__main__"].__spec__, "name", None) or f"pipeline.stages.{name}"
    print(
        f"usage: python -m {module}\n\n{inspect.getdoc(body) or name}\n\n"
        f"What it does is set in params.yaml; there are no options. `dvc repro {name}` runs it "
        "if anything that it depends on has changed.\n\n"
        f"Examples: dvc repro {name}; python -m {module}"
    )
    sys.exit(0 if sys.argv[1] in ("--help", "-h") else 2)


def _fail(name: str, lines: str) -> NoReturn:
    if ERRORS in os.environ:
        os.write(int(os.environ[ERRORS]), f"{lines}\n".encode())
    else:
        for line in lines.splitlines():
            print(f"{name}: error: {line}", file=sys.stderr)
    sys.exit(1)


def _sweep_outputs() -> None:
    """Removes what killed runs left beside the outputs of any stage."""
    for folder in (RESULTS, Path("models"), *Path("data").glob("*/")):
        sweep(folder)


def _catch_signals() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # the first is enough; what follows puts things in order
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call the end of its loaders' workers an error
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()  # of a loader; the engine ends its own
    for worker in workers:
        worker.join(_PATIENCE_S)
    raise SignalledError(number)
