"""The shell around every DVC stage: checked parameters, one run at a time, one-line errors, no orphans."""

import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.contract import UserError
from pipeline.engine import die_with_parent
from pipeline.files import exclusive_lock
from pipeline.params import Params, load_params

LOCKS = Path("data/work/locks")


def run_stage(name: str, body: Callable[[Params], None]) -> None:
    """Runs a stage's body and exits: 0 when it is done, 1 with a line a problem on stderr, 130 when interrupted."""
    die_with_parent()
    try:
        params = load_params()
        busy = f"another run of stage {name} is still working in this folder; wait for it or end it"
        with exclusive_lock(LOCKS / f"{name}.lock", busy=busy):
            body(params)
    except UserError as error:
        for line in str(error).splitlines():
            print(f"{name}: error: {line}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; start again to go on where it stopped", file=sys.stderr)
        sys.exit(130)
