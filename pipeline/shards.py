"""Shard sets: deterministic WebDataset tars, their manifest, its verification, and reading one sample by index."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import pandas as pd

from pipeline import files, tables
from pipeline.contract import BOX_COLUMNS, FACE_SIZE, LANDMARKS, POINT_COLUMNS, POSE_COLUMNS, SAMPLE_COLUMNS, UserError
from pipeline.images import DamagedPictureError, decode_jpeg
from pipeline.params import Params
from pipeline.tar import TarWriter
from pipeline.video import Image

MANIFEST = "manifest.json"
SAMPLES = "samples.parquet"
FORMAT = 1
_LIBRARIES = ("opencv-python-headless", "numpy", "pyarrow", "torch", "facenet-pytorch")
"""Libraries that the bytes of a shard set depend on; recorded in its manifest."""


PLACED_COLUMNS = (
    SAMPLE_COLUMNS
    | {
        "tar": "string",
        "track": "int64",
        "probability": "double",
        "brightness": "double",
        "sharpness": "double",
        "interpolated": "bool",
    }
    | dict.fromkeys((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS), "double")
)
"""Samples on their way into shards: `tar`, `offset` and `size` say where the face is taken from."""


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
    offsets: list[int]


def shuffled(keys: Sequence[str], seed: int) -> list[int]:
    """A global order of samples that depends on the seed and their keys alone: positions sorted by a digest."""
    digests = [hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in keys]
    return sorted(range(len(keys)), key=digests.__getitem__)


def shard_bounds(samples: int, samples_per_shard: int) -> list[tuple[int, int]]:
    """Splits so many samples into the fewest shards of at most `samples_per_shard`, as even as can be."""
    count = -(-samples // samples_per_shard)
    return [(samples * shard // count, samples * (shard + 1) // count) for shard in range(count)]


def write_shard(task: ShardTask) -> WrittenShard:
    """Writes KEY.cls, KEY.jpg and KEY.json for every sample, in order."""
    offsets, counts = [], [0] * task.classes
    with files.publishing(task.path) as stream, contextlib.ExitStack() as sources:
        writer = TarWriter(stream)
        opened: dict[str, IO[bytes]] = {}
        for row in task.samples.to_dict("records"):
            key, name = str(row["key"]), str(row["tar"])
            if name not in opened:
                opened[name] = sources.enter_context((task.faces / name).open("rb"))
            jpeg = os.pread(opened[name].fileno(), int(row["size"]), int(row["offset"]))
            writer.add(f"{key}.cls", str(row["label"]).encode())
            offsets.append(writer.add(f"{key}.jpg", jpeg))
            record = json.dumps(_record(row, task.source), sort_keys=True, separators=(",", ":"), allow_nan=False)
            writer.add(f"{key}.json", record.encode())
            counts[int(row["label"])] += 1
        writer.close()
    line = {
        "name": task.path.name,
        "split": task.split,
        "bytes": task.path.stat().st_size,
        "sha256": files.digest_file(task.path),
        "samples": len(offsets),
        "classes": counts,
    }
    return WrittenShard(line=line, offsets=offsets)


def _record(row: dict[Hashable, Any], source: str) -> dict[str, Any]:
    """A sample's json. Boxes and landmarks are in pixels of the upright video frame."""
    eyes = [row[column] for column in POINT_COLUMNS[:4]]
    return {
        "video": row["video"],
        "trial": row["trial"],
        "subject": row["subject"],
        "frame": row["frame_index"],
        "source": source,
        "track": row["track"],
        "probability": row["probability"],
        "box": [row[column] for column in BOX_COLUMNS],
        "landmarks": [[row[f"{name}_x"], row[f"{name}_y"]] for name in LANDMARKS],
        "interpolated": row["interpolated"],
        "pose": {name: row[name] for name in POSE_COLUMNS},
        "quality": {
            "interocular": round(math.dist(eyes[:2], eyes[2:]), 3),
            "brightness": row["brightness"],
            "sharpness": row["sharpness"],
        },
    }


def write_manifest(folder: Path, params: Params, classes: Sequence[str], lines: Sequence[dict[str, Any]]) -> None:
    """Publishes `manifest.json`, last: digests of every file, counts, and what the bytes depend on."""
    described = sorted(path for path in folder.iterdir() if path.suffix != ".tar")
    splits: dict[str, dict[str, Any]] = {}
    for line in lines:
        split = splits.setdefault(line["split"], {"samples": 0, "classes": [0] * len(classes)})
        split["samples"] += line["samples"]
        split["classes"] = [a + b for a, b in zip(split["classes"], line["classes"], strict=True)]
    manifest = {
        "format": FORMAT,
        "dataset": params.dataset,
        "classes": list(classes),
        "picture": {"width": FACE_SIZE, "height": FACE_SIZE, "encoding": "jpeg"},
        "splits": splits,
        "shards": list(lines),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": files.digest_file(path)} for path in described},
        "params": {
            "index": params.index.model_dump(exclude={"raw", "annotations"}),
            "extract": params.extract.model_dump(),
            "align": params.align.model_dump(exclude={"device"}),
            "shard": params.shard.model_dump(),
        },
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    files.write_json(folder / MANIFEST, manifest | {"digest": files.digest_of(manifest)})


def verify(folder: Path) -> list[str]:
    """Compares every byte of a shard set with its manifest.

    Returns:
        One line a problem, each naming the file; empty if every byte is right.

    Raises:
        UserError: if there is no readable manifest.
    """
    manifest = read_manifest(folder)
    if manifest.pop("digest", None) != files.digest_of(manifest):
        return [f"{folder / MANIFEST}: its text is not what was written (digest differs)"]
    expected = {line["name"]: line for line in manifest["shards"]} | {
        name: line | {"name": name} for name, line in manifest["files"].items()
    }
    problems = []
    for name, line in sorted(expected.items()):
        path = folder / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif path.stat().st_size != line["bytes"]:
            problems.append(f"{path}: {path.stat().st_size} bytes, the manifest says {line['bytes']}")
        elif files.digest_file(path) != line["sha256"]:
            problems.append(f"{path}: its bytes are not those of the manifest (sha256 differs)")
    problems += [
        f"{path}: not in the manifest"
        for path in sorted(folder.iterdir())
        if path.name not in expected and path.name != MANIFEST
    ]
    return problems


def require_verified(folder: Path) -> None:
    """Refuses a shard set that does not verify, naming what is wrong and what to run."""
    problems = verify(folder)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(
            f"{problems[0]}{more}; fetch it again with `rm -r {folder}` and `dvc pull --force {folder}`, "
            "or rebuild it with `dvc repro --force --single-item shard`"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard set; raises `UserError` if it is absent, damaged or of another format."""
    path = folder / MANIFEST
    manifest = files.read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a manifest of format {FORMAT}; rebuild it with `dvc repro`")
    missing = {"classes", "shards", "files", "splits"} - manifest.keys()
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}; rebuild it with `dvc repro`")
    return manifest


class ShardReader:
    """Reads single samples of one split by position in its sample table. Safe to send to worker processes."""

    def __init__(self, folder: Path, split: str) -> None:
        """Loads the sample table of `split`, in stored order; the shards are opened when first read."""
        table = tables.read_table(folder / SAMPLES, SAMPLE_COLUMNS)
        self.folder = folder
        self.samples = table[table["split"] == split].reset_index(drop=True)
        self._shards = self.samples["shard"].tolist()
        self._offsets = self.samples["offset"].tolist()
        self._sizes = self.samples["size"].tolist()
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def jpeg(self, position: int) -> bytes:
        """The stored bytes of one picture."""
        shard = self._shards[position]
        if shard not in self._open:
            self._open[shard] = os.open(self.folder / shard, os.O_RDONLY)
        return os.pread(self._open[shard], self._sizes[position], self._offsets[position])

    def picture(self, position: int) -> Image:
        """One face as RGB; raises `UserError` naming the sample if it cannot be decoded."""
        try:
            return decode_jpeg(self.jpeg(position))
        except DamagedPictureError as error:
            key = self.samples["key"][position]
            raise UserError(
                f"{self.folder / self._shards[position]}: sample {key}: {error}; run `cct verify {self.folder}`"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}
