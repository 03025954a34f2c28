"""Running what a table still misses: experiments of a table, one after another, each in a checkout of its own.

DVC's own queue is offered too, but is not what a table runs on: Ctrl-C does not reach its workers, and a task whose
worker was killed stays "running" for ever and is not started again (docs/decisions/050).
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pipeline.contract import Paths, UserError
from pipeline.files import digest_of
from pipeline.params import Params
from pipeline.store import work_store
from train.tables.definition import Cell, Table
from train.tables.experiments import DVC
from train.tables.filled import Filled
from train.tables.locked import Version, sets_of, settings_of_run

TARGET = "evaluate"
"""The last stage whose results a table shows; reports and audits are not made for each run."""


def experiment_name(table: Table, cell: Cell, seed: int, version: Version) -> str:
    """Readable, and the same for the same run: table, cell, seed, and a digest of all that determines the result."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", cell.name).strip("-.") or "run"
    params, sets = table.params(cell, seed), dict(version.sets)
    digests = [sets.get(name, "") for name in sets_of(params, params.pretrain)]
    digest = digest_of(settings_of_run(params), version.code, *digests)
    return f"{table.name}-{words}-s{seed}-{digest[:6]}"


def command_of(table: Table, cell: Cell, seed: int, version: Version, *, queued: bool) -> list[str]:
    """The `dvc exp run` of one run, in a checkout of its own or in DVC's queue."""
    params = table.params(cell, seed)
    changes = (cell.changes or {}) | {"seed": seed}
    command = [*DVC, "exp", "run", "--queue" if queued else "--temp", "--allow-missing"]
    command += ["--name", experiment_name(table, cell, seed, version)]
    for key, value in changes.items():
        command += ["--set-param", f"{key}={_spelled(value)}"]
    for path in _copied(params):
        command += ["--copy-paths", str(path)]
    return [*command, TARGET]


def run_missing(filled: Filled, version: Version, *, queued: bool = False) -> None:
    """Runs, or puts into DVC's queue, what is missing.

    A run that was killed is gone on with from its last snapshot: checkouts share this project's work store.

    Raises:
        UserError: if a run fails, or is interrupted; those that are finished stay.
    """
    missing = filled.missing()
    for cell, seed in missing:
        _check_starting_points(filled.table.params(cell, seed))
    for number, (cell, seed) in enumerate(missing, start=1):
        said = "queued" if queued else "running"
        print(f"{filled.table.name}: {said} {number} of {len(missing)}: {cell.name}, seed {seed}", flush=True)
        code = _ended(command_of(filled.table, cell, seed, version, queued=queued))
        if code:
            raise UserError(
                f"{filled.table.name}: the run of {cell.name} with seed {seed} failed (exit code {code}); its output "
                "is above. Once that is mended, the same command goes on"
            )


def _ended(command: list[str]) -> int:
    """The exit code of a command, which is told of Ctrl-C and SIGTERM as a terminal tells: with all that it started.

    DVC lets the stage decide what an interrupt means: a training finishes its step and saves. A second one kills.
    """
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"CCT_STORE": str(work_store().root.resolve()), "PATH": paths}
    with _termination_as_interrupt():
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            return process.wait()
        except KeyboardInterrupt:
            _interrupted(process)
            raise UserError("interrupted; the same command goes on where it stopped") from None


def _interrupted(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _copied(params: Params) -> list[Path]:
    """What a checkout lacks: shard sets beside `dataset`, which are no outputs of this pipeline as it is set."""
    return [Paths(dataset=name).shards for name in sets_of(params, params.pretrain) if name != params.dataset]


def _check_starting_points(params: Params) -> None:
    """Raises `UserError` for what a checkout would not find, before hours of other runs."""
    for path in _copied(params):
        if not path.is_dir():
            raise UserError(
                f"{path} is not there; prepare it with its preset, or copy it from a teammate (docs/tables.md)"
            )
    if params.init is None or Path(params.init).is_absolute():
        return
    tracked = subprocess.run(["git", "ls-files", "--error-unmatch", params.init], capture_output=True, check=False)
    if tracked.returncode and not Path(f"{params.init}.dvc").exists():
        raise UserError(
            f"init is {params.init}, which a checkout of its own would not see: put the file there, "
            f"`dvc add {params.init}` and commit, or name it by its absolute path"
        )


def _spelled(value: Any) -> str:
    return "null" if value is None else str(value)
