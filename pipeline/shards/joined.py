"""Several shard sets read as if they were one: the main set's samples, then those of the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.contract import STILL_LAYOUTS, UserError
from pipeline.images import Image
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader

_COLUMNS = ["key", "split", "trial", "video", "frame_index", "label"]


def prefix(name: str) -> str:
    """What the names of another set's samples and shards begin with."""
    return f"{name}/"


class JoinedReader:
    """Reads samples by position in the main set's split and, behind it, in those of other sets.

    Keys, trials and videos of the others begin with the set's name and a slash, which no key has: so they are unique,
    and the main set's samples are called what they are called without the others. Safe to send to worker processes.
    """

    def __init__(self, main: ShardReader, others: Mapping[str, ShardReader]) -> None:
        """Takes readers of one split; their order is that of the positions."""
        self._readers = [main, *others.values()]
        self._prefixes = ["", *map(prefix, others)]
        self._begins = np.cumsum([0, *map(len, self._readers)])
        named = zip(self._readers, self._prefixes, strict=True)
        self.samples = pd.concat([_renamed(reader, begin) for reader, begin in named], ignore_index=True)

    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    def folder(self) -> Path:
        """The main set's."""
        return self._readers[0].folder

    @property
    def split(self) -> str:
        """The same of all sets."""
        return self._readers[0].split

    def marks(self, name: str) -> "pd.Series[Any]":
        """As `ShardReader.marks`, of all sets."""
        return pd.concat([reader.marks(name) for reader in self._readers], ignore_index=True)

    def keys(self, positions: NDArray[np.int64]) -> list[str]:
        """The samples' keys."""
        return [self.key(position) for position in positions.tolist()]

    def key(self, position: int) -> str:
        """The sample's key."""
        number, own = self._place(position)
        return self._prefixes[number] + self._readers[number].key(own)

    def shards(self, positions: NDArray[np.int64]) -> list[str]:
        """Names of the shards that hold these samples, each once; those of the other sets with their prefix."""
        names: list[str] = []
        numbers = np.searchsorted(self._begins, positions, side="right") - 1
        for number, (reader, begin) in enumerate(zip(self._readers, self._prefixes, strict=True)):
            own = positions[numbers == number] - self._begins[number]
            names += [begin + name for name in reader.shards(own)]
        return names

    def rest(self) -> None:
        """As `ShardReader.rest`."""
        for reader in self._readers:
            reader.rest()

    def picture(self, position: int) -> Image:
        """As `ShardReader.picture`."""
        number, own = self._place(position)
        return self._readers[number].picture(own)

    def _place(self, position: int) -> tuple[int, int]:
        """Which set a position is in, and where in it."""
        number = int(np.searchsorted(self._begins, position, side="right")) - 1
        return number, position - int(self._begins[number])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "samples"}


def require_same_classes(folders: Mapping[str, Path]) -> None:
    """Refuses shard sets whose classes are not those of the first, in its order, naming what to rebuild.

    Args:
        folders: of the sets, by name.
    """
    found = {name: read_manifest(folder)["classes"] for name, folder in folders.items()}
    main, classes = next(iter(found.items()), ("", []))
    for other, theirs in found.items():
        if theirs != classes:
            lacking = [f"{main} has no {name}" for name in theirs if name not in classes]
            lacking += [f"{other} has no {name}" for name in classes if name not in theirs]
            raise UserError(
                f"sets {other} and {main} have different classes ({'; '.join(lacking) or 'in another order'}); build "
                "both with the same index.classes, 7 or 8: set it in the parameters of one and run `dvc repro shard`"
            )


def _renamed(reader: ShardReader, begin: str) -> pd.DataFrame:
    samples = reader.samples[_COLUMNS]
    if not begin:
        return samples
    told = {name: begin + samples[name].astype(str) for name in ("key", "trial", "video")}
    if read_manifest(reader.folder)["params"]["index"]["layout"] in STILL_LAYOUTS:
        told["trial"] = told["key"]  # pictures that stand alone are mislabelled one by one, whatever `noise_unit` says
    return samples.assign(**told)
