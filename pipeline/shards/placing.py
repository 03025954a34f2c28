"""Where each sample goes: faces joined with their labels, put into one shuffled order, dealt out to shards."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import tables
from pipeline.contract import FACE_COLUMNS, FRAME_COLUMNS, Paths, UserError, sample_key
from pipeline.marks import MARK_COLUMNS
from pipeline.params import Params
from pipeline.shards.writing import PLACED_COLUMNS, ShardTask


def shuffled(keys: Iterable[str], seed: int) -> NDArray[np.int64]:
    """A global order of samples that depends on the seed and their keys alone: positions sorted by a SHA-256."""
    digests = bytearray()
    for key in keys:
        digests += hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return np.frombuffer(digests, dtype="S32").argsort(kind="stable")


def shard_bounds(samples: int, samples_per_shard: int) -> list[tuple[int, int]]:
    """Splits so many samples into the fewest shards of at most `samples_per_shard`, as even as can be."""
    count = -(-samples // samples_per_shard)
    return [(samples * shard // count, samples * (shard + 1) // count) for shard in range(count)]


def placed_samples(paths: Paths, seed: int) -> pd.DataFrame:
    """Every face with its label, what else is known of it, its measures and the place of its picture, in stored order.

    The columns are those of `PLACED_COLUMNS` and `MARK_COLUMNS`.

    Splits follow each other by name, each in its shuffled order. Of millions of samples no more than one copy should be
    in memory: texts are categoricals, numbers as narrow as they can be without loss, and columns are read one by one.

    Raises:
        UserError: if the tables of the stages index and align do not belong together.
    """
    faces = paths.faces / "faces.parquet"
    samples = _labelled_faces(paths)
    order = shuffled(_checked_keys(faces, samples), seed)
    splits = samples["split"].cat.codes.to_numpy()
    order = order[np.argsort(splits[order], kind="stable")]
    samples = samples.iloc[order].reset_index(drop=True)
    for name, kind in PLACED_COLUMNS.items():
        if name not in samples:
            path, categories = (faces if name in FACE_COLUMNS else paths.landmarks), {"tar"} & {name}
            samples[name] = tables.read_table(path, {name: kind}, categories=categories)[name].array[order]
        samples[name] = tables.narrowed(samples[name])
    return samples


def _labelled_faces(paths: Paths) -> pd.DataFrame:
    """Rows of the frame table, in the order of the landmark table."""
    repeated = ("trial", "video", "subject", "split", "action_units")
    frames = tables.read_table(paths.index, FRAME_COLUMNS | MARK_COLUMNS, categories=repeated)
    frames["split"] = frames["split"].cat.reorder_categories(sorted(frames["split"].cat.categories))
    faces = tables.read_table(paths.landmarks, {"trial": "string", "frame_index": "int64"}, categories=("trial",))
    trials = frames["trial"].cat.categories
    labelled, wanted = _numbers(frames, trials), _numbers(faces, trials)
    by_number = np.argsort(labelled, kind="stable")
    labelled = labelled[by_number]
    if (np.diff(labelled) == 0).any():
        raise UserError(f"{paths.index} has a frame of a trial twice; run `dvc repro --force --single-item index`")
    places = np.searchsorted(labelled, wanted)
    is_labelled = np.append(labelled, -1)[places] == wanted
    if not is_labelled.all() or (np.bincount(places) > 1).any():
        raise UserError(_foreign(paths.landmarks))
    return frames.iloc[by_number[places]]


def _numbers(table: pd.DataFrame, trials: "pd.Index[str]") -> NDArray[np.int64]:
    """One number a frame of a trial: of millions of pairs an index of pandas would take hundreds of megabytes.

    Frames of other trials get negative ones. Frames are numbered below 2**40: a thousand years of video.
    """
    codes = trials.get_indexer(table["trial"].cat.categories)[table["trial"].cat.codes]
    numbers: NDArray[np.int64] = codes.astype(np.int64) << 40 | table["frame_index"].to_numpy(np.int64)
    return numbers


def _checked_keys(faces: Path, samples: pd.DataFrame) -> Iterator[str]:
    """The samples' keys, each compared with that of its row in the face table."""
    stored = tables.read_table(faces, {"key": "string"})["key"]
    if len(stored) != len(samples):
        raise UserError(_foreign(faces))
    keys = map(sample_key, samples["trial"], samples["frame_index"])
    for key, stored_key in zip(keys, stored, strict=True):
        if key != stored_key:
            raise UserError(_foreign(faces))
        yield key


def _foreign(path: Path) -> str:
    return f"{path} is of another run than the tables beside it; run `dvc repro --force --single-item align`"


def shard_tasks(params: Params, samples: pd.DataFrame, folder: Path, faces: Path) -> list[ShardTask]:
    """A task a shard: consecutive samples of one split. Tasks share the memory of `samples`."""
    tasks, begin = [], 0
    for split, count in samples.groupby("split", observed=True).size().items():
        for number, (first, last) in enumerate(shard_bounds(count, params.shard.samples_per_shard)):
            task = ShardTask(
                path=folder / f"{split}-{number:06d}.tar",
                split=str(split),
                samples=samples.iloc[begin + first : begin + last],
                source=params.dataset,
                faces=faces,
                classes=params.index.classes,
            )
            tasks.append(task)
        begin += count
    return tasks


def shard_names(tasks: Sequence[ShardTask]) -> "pd.Categorical[str]":
    """The shard of every sample, in stored order."""
    names = pd.Index([task.path.name for task in tasks])
    codes = np.repeat(np.arange(len(tasks)), [len(task.samples) for task in tasks])
    return pd.Categorical.from_codes(codes, names)
