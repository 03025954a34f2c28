"""Tasks for the tests of the nursery, and what lets the engine's tests run in one."""

import os
import signal
import sys
from pathlib import Path

import pytest

from pipeline.workers.nursery import current


def surroundings() -> dict[str, object]:
    """What a worker finds about itself."""
    descriptors = [each for each in Path("/proc/self/fd").iterdir() if each.exists()]  # without that of the listing
    return {
        "loaded": "pipeline.stages.align" in sys.modules,
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "nursery": os.getppid(),
        "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
        "descriptors": len([each for each in descriptors if int(each.name) > 2]),
    }


def kills_the_nursery_once(mark: str, item: str) -> str:
    """Hands the item back; whoever comes first ends the process that forked it."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return item
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
    return item


class Forking:
    """A plugin of pytest that fails where the nursery is missing."""

    @pytest.fixture(autouse=True)
    def in_a_nursery(self) -> None:
        """Each test has one."""
        assert current() is not None
