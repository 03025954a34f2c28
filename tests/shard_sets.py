"""Small real shard sets, written by the project's own writer, for tests of what reads them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from pipeline import files, tables
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, SAMPLE_COLUMNS, sample_key
from pipeline.images import encode_jpeg
from pipeline.params import Params, load_params
from pipeline.shards.manifest import SAMPLES, write_manifest
from pipeline.shards.placing import shard_bounds
from pipeline.shards.writing import ShardTask, sample_rows, write_shard
from pipeline.tar import TarWriter

PARAMS_FILE = Path(__file__).parent.parent / "params.yaml"

SIZES = {"train": 9, "val": 3}
"""Samples a split of the set that tests share."""


def params(**changes: object) -> Params:
    """The committed parameters with some top-level keys changed."""
    return load_params(PARAMS_FILE).model_copy(update=changes)


def write_shard_set(
    root: Path,
    samples: dict[str, int],
    *,
    classes: int = 7,
    samples_per_shard: int = 15,
    noise: float = 40,
    names: tuple[str, ...] = tuple("abcdefgh"),
    jpegs: Mapping[tuple[str, int], bytes] = MappingProxyType({}),
) -> Path:
    """A set of random pictures whose mean colour tells their class, four frames a video; returns its folder.

    Those of `jpegs`, by split and frame index, are stored as they are given.
    With `noise` (standard deviation of a level) of about 5, a picture takes as many bytes as a face.
    """
    generator = np.random.default_rng(0)
    folder, faces = root / "shards", root / "faces"
    faces.mkdir(parents=True)
    lines, stored = [], []
    with files.fresh_folder(folder) as building:
        for split, count in samples.items():
            own = {index: jpeg for (of, index), jpeg in jpegs.items() if of == split}
            table = _faces(faces, split, count, classes, noise, generator, own)
            for number, (begin, end) in enumerate(shard_bounds(count, samples_per_shard)):
                task = ShardTask(
                    path=building / f"{split}-{number:06d}.tar",
                    split=split,
                    samples=table.iloc[begin:end],
                    source="synthetic",
                    faces=faces,
                    classes=classes,
                )
                written = write_shard(task)
                lines.append(written.line)
                stored.append(sample_rows(task, written))
        tables.write_table(building / SAMPLES, pd.concat(stored), SAMPLE_COLUMNS)
        write_manifest(building, params(), names[:classes], lines)
    return folder


def _faces(
    folder: Path,
    split: str,
    count: int,
    classes: int,
    noise: float,
    generator: np.random.Generator,
    jpegs: Mapping[int, bytes],
) -> pd.DataFrame:
    rows = []
    with (folder / f"{split}.tar").open("wb") as stream:
        writer = TarWriter(stream)
        for index in range(count):
            video, label = f"{split}-video{index // 4}", index % classes
            colour = 255 * np.array([label & 1, label >> 1 & 1, label >> 2 & 1])
            picture = np.clip(generator.normal(colour, noise, (224, 224, 3)), 0, 255).astype(np.uint8)
            jpeg = jpegs.get(index) or encode_jpeg(picture, 90)
            key = sample_key(video, index)
            rows.append(
                {"split": split, "trial": video, "video": video, "subject": "", "frame_index": index}
                | {"label": label, "tar": f"{split}.tar", "size": len(jpeg), "track": 0}
                | {"offset": writer.add(f"{key}.jpg", jpeg), "probability": 1.0, "brightness": 0.0, "sharpness": 0.0}
                | {"interpolated": False}
                | dict.fromkeys((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS), 0.0)
            )
        writer.close()
    return pd.DataFrame(rows)
