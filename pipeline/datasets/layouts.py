"""The layouts by name. Each reads a folder into trials and what did not fit."""

from collections.abc import Callable
from pathlib import Path

from pipeline.datasets import affectnet, affwild2, cropped, ferplus, pickled, rafdb
from pipeline.datasets.base import RawSet
from pipeline.params import IndexParams


def _rafdb(raw: Path, annotations: Path, index: IndexParams) -> RawSet:
    noise_list = None if index.noise_list is None else raw / index.noise_list
    return rafdb.read(raw, annotations, index.classes, noise_list)


LAYOUTS: dict[str, Callable[[Path, Path, IndexParams], RawSet]] = {
    "affwild2": lambda raw, annotations, index: affwild2.read(raw, annotations, index.classes),
    "affwild2_cropped": lambda raw, annotations, index: cropped.read(raw, annotations, index.classes),
    "affwild2_pickle": lambda raw, annotations, index: pickled.read(raw, annotations, index.classes),
    "affectnet": lambda raw, annotations, index: affectnet.read(raw, annotations, index.classes),
    "rafdb": _rafdb,
    "ferplus": lambda raw, annotations, index: ferplus.read(raw, annotations, index.classes),
}
"""Layout to reader of (folder of the raw set, annotations, parameters)."""


def read_layout(index: IndexParams) -> RawSet:
    """The raw set that the parameters name; raises `UserError` if it is not laid out as they say."""
    raw = Path(index.raw)
    return LAYOUTS[index.layout](raw, raw / index.annotations, index)
