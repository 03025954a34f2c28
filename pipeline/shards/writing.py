"""Shards: deterministic WebDataset tars, hashed while they are written."""

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import files
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, UserError, sample_key
from pipeline.images import DamagedPictureError
from pipeline.shards.opened import PictureFiles
from pipeline.shards.records import records
from pipeline.store import work_store
from pipeline.tar import TarWriter

PLACED_COLUMNS = (
    dict.fromkeys(("trial", "video", "subject", "split"), "string")
    | {"frame_index": "int64", "label": "int64"}
    | {"tar": "string", "offset": "int64", "size": "int64"}
    | {"track": "int64", "interpolated": "bool"}
    | dict.fromkeys(("probability", "brightness", "sharpness"), "double")
    | dict.fromkeys((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS), "double")
)
"""Samples on their way into shards: `tar`, `offset` and `size` say where the face is taken from."""

_CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to write: its samples in order (`PLACED_COLUMNS`), and the folder of their source tars."""

    path: Path
    split: str
    samples: pd.DataFrame
    source: str
    faces: Path
    classes: int


@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    """A finished shard: its line of the manifest, and where each sample's JPEG begins."""

    line: dict[str, Any]
    offsets: NDArray[np.int64]


class _Digested:
    """Hands bytes on to a stream, some hundred kilobytes at a time, and digests them on the way."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._digest, self.length = stream, hashlib.sha256(), 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def writelines(self, pieces: Collection[bytes]) -> None:
        self._waiting += pieces
        self._waiting_bytes += sum(map(len, pieces))
        if self._waiting_bytes >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        chunk = b"".join(self._waiting)
        self._stream.write(chunk)
        self._digest.update(chunk)
        self.length += len(chunk)
        self._waiting, self._waiting_bytes = [], 0

    def finish(self) -> str:
        """Hands the last bytes on; returns the SHA-256 of all, in hexadecimal."""
        self.flush()
        return self._digest.hexdigest()


def write_shard(task: ShardTask) -> WrittenShard:
    """Writes KEY.cls, KEY.jpg and KEY.json for every sample, in order.

    Raises:
        UserError: naming a source tar and sample, if the face is not where the tables say.
    """
    keys, labels = sample_keys(task.samples), task.samples["label"]
    places = zip(*(task.samples[name] for name in ("tar", "offset", "size")), strict=True)
    offsets = []
    with files.publishing(task.path) as stream, contextlib.closing(PictureFiles(task.faces)) as sources:
        sink = _Digested(stream)
        writer = TarWriter(sink)
        for key, label, place, record in zip(keys, labels, places, records(task.samples, task.source), strict=True):
            try:
                jpeg = sources.jpeg(*place)
            except DamagedPictureError as error:
                remedy = f"delete {work_store().root / 'faces'} and run `dvc repro --force --single-item align`"
                raise UserError(f"{task.faces / place[0]}: sample {key}: {error}; {remedy}") from None
            writer.add(f"{key}.cls", b"%d" % label)
            offsets.append(writer.add(f"{key}.jpg", jpeg))
            writer.add(f"{key}.json", record)
        writer.close()
        sha256 = sink.finish()
    line = {
        "name": task.path.name,
        "split": task.split,
        "bytes": sink.length,
        "sha256": sha256,
        "samples": len(offsets),
        "classes": np.bincount(labels, minlength=task.classes).tolist(),
    }
    return WrittenShard(line=line, offsets=np.array(offsets, dtype=np.int64))


def sample_keys(samples: pd.DataFrame) -> Iterator[str]:
    """The key of each row."""
    return map(sample_key, samples["trial"], samples["frame_index"])


def sample_rows(task: ShardTask, written: WrittenShard) -> pd.DataFrame:
    """Rows of the sample table for one shard."""
    return task.samples.assign(key=list(sample_keys(task.samples)), shard=task.path.name, offset=written.offsets)
