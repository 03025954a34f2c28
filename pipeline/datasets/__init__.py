"""Dataset layouts: one file a layout, one line in LAYOUTS. Each reads a folder into trials and what did not fit."""

from collections.abc import Callable
from pathlib import Path

from pipeline.datasets import affwild2
from pipeline.datasets.base import RawSet

Reader = Callable[[Path, Path, int], RawSet]

LAYOUTS: dict[str, Reader] = {"affwild2": affwild2.read}
