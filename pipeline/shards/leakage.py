"""Pictures that one shard set trains on and another is evaluated on, and those that two sets both train on."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.shards.manifest import read_manifest
from pipeline.shards.prints import prints_of
from pipeline.shards.reading import ShardReader
from pipeline.shards.twins import NONE, exact_twins, near_twins
from pipeline.store import WorkStore

TRAINED, EVALUATED = "train", ("val", "test")

TWIN_COLUMNS = {
    "dataset": "string",
    "trial": "string",
    "frame_index": "int64",
    "label": "string",
    "kind": "string",
    "distance": "int64",
    "other_dataset": "string",
    "other_split": "string",
    "other_key": "string",
    "other_label": "string",
}
"""One row a training picture that another split has too, with the nearest there: `exact` byte for byte, or `near`,
`distance` bits apart."""


def leaks(
    trained: Mapping[str, Path], evaluated: Mapping[str, Path], *, distance: int, store: WorkStore, within: bool = False
) -> pd.DataFrame:
    """Training pictures of a set that are in an evaluation split of another (`TWIN_COLUMNS`).

    Args:
        trained: folders of verified shard sets by name.
        evaluated: the same of those that are evaluated on.
        distance: see `twins.near_twins`.
        store: keeps the prints.
        within: whether the splits of one set are compared with each other, too.
    """
    pairs = [(one, other) for one in trained for other in evaluated if within or one != other]
    found = [
        twins(name, trained[name], other, evaluated[other], split, distance=distance, store=store)
        for name, other in pairs
        for split in EVALUATED
    ]
    return joined(found)


def doubles(trained: Mapping[str, Path], *, distance: int, store: WorkStore) -> pd.DataFrame:
    """Training pictures of a set that a set before it trains on, too (`TWIN_COLUMNS`)."""
    names = list(trained)
    pairs = [(later, earlier) for place, later in enumerate(names) for earlier in names[:place]]
    return joined(
        twins(name, trained[name], other, trained[other], TRAINED, distance=distance, store=store)
        for name, other in pairs
    )


def twins(
    name: str, folder: Path, other: str, other_folder: Path, other_split: str, *, distance: int, store: WorkStore
) -> pd.DataFrame:
    """Training pictures of one set that a split of another, or of the same, has too (`TWIN_COLUMNS`)."""
    if TRAINED not in read_manifest(folder)["splits"] or other_split not in read_manifest(other_folder)["splits"]:
        return joined([])
    own, theirs = prints_of(folder, TRAINED, store), prints_of(other_folder, other_split, store)
    exact = exact_twins(own.digests_n4, theirs.digests_n4)
    there = np.flatnonzero(~theirs.flat_n)  # a print of a flat picture says nothing
    place, bits = near_twins(own.bits_n2, theirs.bits_n2[there], distance)
    near = np.where((place == NONE) | own.flat_n, NONE, np.append(there, NONE)[place])
    twin = np.where(exact != NONE, exact, near)
    rows = np.flatnonzero(twin != NONE)
    left, right = ShardReader(folder, TRAINED).samples.iloc[rows], ShardReader(other_folder, other_split).samples
    right = right.iloc[twin[rows]]
    is_exact = exact[rows] != NONE
    return pd.DataFrame(
        {
            "dataset": name,
            "trial": left["trial"].astype(str).to_numpy(),
            "frame_index": left["frame_index"].to_numpy(),
            "label": _named(folder, left),
            "kind": np.where(is_exact, "exact", "near"),
            "distance": np.where(is_exact, 0, bits[rows]),
            "other_dataset": other,
            "other_split": other_split,
            "other_key": right["key"].to_numpy(),
            "other_label": _named(other_folder, right),
        }
    )


def told(found: pd.DataFrame) -> Iterator[str]:
    """A line on each pair of sets and splits that share pictures."""
    for (name, other, split), rows in found.groupby(["dataset", "other_dataset", "other_split"], sort=True):
        exact, agree = int((rows["kind"] == "exact").sum()), int((rows["label"] == rows["other_label"]).sum())
        yield (
            f"{len(rows)} training pictures of {name} are in split {split} of {other}: {exact} byte for byte, "
            f"{len(rows) - exact} nearly; {agree} with the same label"
        )


def _named(folder: Path, samples: pd.DataFrame) -> Any:
    return np.array(read_manifest(folder)["classes"], dtype=object)[samples["label"].to_numpy(np.int64)]


def joined(found: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of twins as one."""
    return pd.concat([pd.DataFrame(columns=list(TWIN_COLUMNS)), *(each for each in found if len(each))])
