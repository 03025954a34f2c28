"""Single samples of a shard set, by position."""

import json
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import tables
from pipeline.contract import SAMPLE_COLUMNS, UserError, sample_key
from pipeline.images import DamagedPictureError, Image, decode_jpeg
from pipeline.marks import MARK_COLUMNS
from pipeline.shards.manifest import SAMPLES
from pipeline.shards.opened import PictureFiles
from pipeline.tables import narrowed
from pipeline.tar import BLOCK

_RECORD_MOST = 1 << 16
"""Bytes behind a picture that are searched for its json."""


class ShardReader:
    """Reads single samples of one split by position in its sample table.

    Safe to send to worker processes: they get what reading takes, some 12 bytes a sample, and not the table.
    """

    def __init__(self, folder: Path, split: str, *, places: Mapping[str, Path] | None = None) -> None:
        """Loads the sample table of `split`, in stored order; the shards are opened when first read.

        Args:
            folder: of the set.
            split: train, val or test.
            places: of shards that are not in the folder and come and go (`pipeline.streaming`), by name.
        """
        repeated = ("split", "trial", "video", "subject", "shard")
        self.folder, self.split = folder, split
        self.samples = tables.read_table(folder / SAMPLES, SAMPLE_COLUMNS, categories=repeated, only=("split", split))
        for name in repeated:
            self.samples[name] = self.samples[name].cat.remove_unused_categories()
        self._names, self._shards = _coded(self.samples["shard"])
        self._trials, self._trial_codes = _coded(self.samples["trial"])
        self._offsets, self._sizes, self._frames = (
            narrowed(self.samples[name]).to_numpy() for name in ("offset", "size", "frame_index")
        )
        self._files, self._passing = PictureFiles(folder, places), bool(places)

    def __len__(self) -> int:
        return len(self._offsets)

    def marks(self, name: str) -> "pd.Series[Any]":
        """A column of `MARK_COLUMNS` in the order of the samples, null where nothing is known of one.

        `votes` are arrays of C counts, one a class, of people who saw the picture.
        """
        kinds = {"split": "string", name: MARK_COLUMNS[name]}
        return tables.read_table(self.folder / SAMPLES, kinds, only=("split", self.split))[name]

    def key(self, position: int) -> str:
        """The sample's key."""
        return sample_key(self._trials[self._trial_codes[position]], int(self._frames[position]))

    def keys(self, positions: NDArray[np.int64]) -> list[str]:
        """The samples' keys."""
        return [self.key(position) for position in positions.tolist()]

    def shards(self, positions: NDArray[np.int64]) -> list[str]:
        """Names of the shards that hold these samples, each once."""
        return [self._names[code] for code in np.unique(self._shards[positions])]

    def rest(self) -> None:
        """Nothing is read for now: shards that come and go are closed, so that their room can be used."""
        if self._passing:
            self._files.close()

    def jpeg(self, position: int) -> bytes:
        """The stored bytes of one picture; raises `UserError` naming shard and sample if they are not there."""
        name = self._names[self._shards[position]]
        try:
            return self._files.jpeg(name, int(self._offsets[position]), int(self._sizes[position]))
        except DamagedPictureError as error:
            raise self._damaged(position, error) from None

    def picture(self, position: int) -> Image:
        """One face as RGB; raises `UserError` naming shard and sample if it cannot be decoded."""
        content = self.jpeg(position)
        try:
            return decode_jpeg(content)
        except DamagedPictureError as error:
            raise self._damaged(position, error) from None

    def record(self, position: int) -> dict[str, Any]:
        """What is known of a sample, its json; raises `UserError` naming shard and sample if it is not there."""
        name = self._names[self._shards[position]]
        begin = int(self._offsets[position]) + int(self._sizes[position])
        begin += -begin % BLOCK  # members begin at blocks, and the picture's comes first
        try:
            behind = self._files.stretch(name, begin, _RECORD_MOST)
            with tarfile.open(fileobj=BytesIO(behind), mode="r:") as archive:
                for member in (archive.next(), archive.next()):
                    if member is not None and member.name == f"{self.key(position)}.json":
                        found: dict[str, Any] = json.loads(behind[member.offset_data :][: member.size])
                        return found
        except (DamagedPictureError, tarfile.TarError, ValueError) as error:
            raise self._damaged(position, error) from None
        raise self._damaged(position, ValueError("its json is not behind its picture"))

    def _damaged(self, position: int, error: Exception) -> UserError:
        path = self.folder / self._names[self._shards[position]]
        return UserError(f"{path}: sample {self.key(position)}: {error}; run `cct verify {self.folder}`")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "samples"}


def _coded(column: "pd.Series[Any]") -> tuple[list[str], NDArray[np.integer[Any]]]:
    """The values of a categorical, and the number of each row's."""
    return [str(value) for value in column.cat.categories], column.cat.codes.to_numpy()
