"""Faces, labels and pictures joined and dealt out to shards, against a plain merge of the same tables."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.contract import FACE_COLUMNS, FRAME_COLUMNS, LANDMARK_COLUMNS, Paths, UserError, escape, sample_key
from pipeline.marks import MARK_COLUMNS
from pipeline.params import Params
from pipeline.shards.placing import placed_samples, shard_names, shard_tasks
from pipeline.shards.writing import PLACED_COLUMNS
from pipeline.tables import write_table

PATHS = Paths(dataset="d")
TRIALS = {
    "b": "train",
    "a_left": "train",
    "a_right": "val",
    "a-b": "val",
    "Zoë one": "train",
    "c": "test",
    "empty": "val",
}

Tables = dict[str, pd.DataFrame]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """The three tables as the stages leave them, in the current folder: faces of two thirds of the labelled frames."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(5)
    frames = []
    for trial, split in sorted(TRIALS.items()):
        video, _, subject = trial.partition("_")
        indices = np.flatnonzero(generator.random(90) < 0.7)
        labels = generator.integers(0, 7, len(indices))
        text = {"trial": trial, "video": video, "subject": subject, "split": split}
        marks = dict.fromkeys(MARK_COLUMNS) | {"listed_label": -1, "valence": labels / 10}
        frames.append(pd.DataFrame({**text, **marks, "frame_index": indices, "label": labels}))
    frame_table = pd.concat(frames)
    faces = frame_table[(generator.random(len(frame_table)) < 0.7) & (frame_table["trial"] != "empty")]
    faces = faces.sort_values(["video", "trial", "frame_index"]).reset_index(drop=True)
    for name, kind in (LANDMARK_COLUMNS | FACE_COLUMNS).items():
        if name not in faces and kind != "string":
            values = generator.integers(0, 2**20, len(faces))
            faces[name] = values % 2 == 0 if kind == "bool" else values / 64 if kind == "double" else values
    faces["key"] = list(map(sample_key, faces["trial"], faces["frame_index"]))
    faces["tar"] = [f"{escape(video)}.tar" for video in faces["video"]]
    tables = {"frames": frame_table, "landmarks": faces[list(LANDMARK_COLUMNS)], "faces": faces[list(FACE_COLUMNS)]}
    write(tables)
    return tables


def write(tables: Tables) -> None:
    write_table(PATHS.index, tables["frames"], FRAME_COLUMNS | MARK_COLUMNS)
    write_table(PATHS.landmarks, tables["landmarks"], LANDMARK_COLUMNS)
    write_table(PATHS.faces / "faces.parquet", tables["faces"], FACE_COLUMNS)


@pytest.mark.parametrize("seed", [0, 7])
def test_placed_samples_are_those_of_a_merge_sorted_by_digest(written: Tables, seed: int) -> None:
    merged = pd.concat([written["landmarks"], written["faces"]], axis=1).merge(
        written["frames"], on=["trial", "frame_index"], suffixes=("", "_again"), validate="one_to_one"
    )
    digests = [hashlib.sha256(f"{seed}:{key}".encode()).hexdigest() for key in merged["key"]]
    expected = merged.assign(digest=digests).sort_values(["split", "digest"]).reset_index(drop=True)
    placed = placed_samples(PATHS, seed)
    assert set(placed) == set(PLACED_COLUMNS | MARK_COLUMNS)
    assert placed["valence"].tolist() == (placed["label"] / 10).tolist() and placed["votes"].isna().all()
    for name in PLACED_COLUMNS:
        assert placed[name].tolist() == expected[name].tolist(), name


def test_shards_are_dealt_out_split_by_split(written: Tables, params: Params) -> None:
    shard = params.shard.model_copy(update={"samples_per_shard": 30})
    samples = placed_samples(PATHS, 0)
    tasks = shard_tasks(params.model_copy(update={"shard": shard}), samples, Path("out"), PATHS.faces)
    pd.testing.assert_frame_equal(pd.concat([task.samples for task in tasks]), samples)
    names = [task.path.name for task in tasks]
    counts = samples["split"].astype(str).value_counts()
    numbered = [f"{split}-{n:06d}.tar" for split in ("test", "train", "val") for n in range(-(-counts[split] // 30))]
    assert names == numbered
    assert all(set(task.samples["split"]) == {task.split} and 0 < len(task.samples) <= 30 for task in tasks)
    assert shard_names(tasks).tolist() == [task.path.name for task in tasks for _ in range(len(task.samples))]


def swapped(tables: Tables) -> None:
    tables["faces"] = tables["faces"].iloc[[1, 0, *range(2, len(tables["faces"]))]]


def shorter(tables: Tables) -> None:
    tables["faces"] = tables["faces"].iloc[:-1]


def unlabelled(tables: Tables) -> None:
    first = tables["landmarks"].iloc[0]
    frames = tables["frames"]
    gone = (frames["trial"] == first["trial"]) & (frames["frame_index"] == first["frame_index"])
    tables["frames"] = frames[~gone]


def other_trial(tables: Tables) -> None:
    tables["landmarks"] = tables["landmarks"].replace({"trial": {"b": "nobody"}})


def twice(tables: Tables) -> None:
    for name in ("landmarks", "faces"):
        tables[name] = pd.concat([tables[name], tables[name].tail(1)])


def labelled_twice(tables: Tables) -> None:
    tables["frames"] = pd.concat([tables["frames"], tables["frames"].head(1)])


@pytest.mark.parametrize("damage", [swapped, shorter, unlabelled, other_trial, twice, labelled_twice])
def test_tables_that_do_not_belong_together_are_refused(written: Tables, damage: Callable[[Tables], None]) -> None:
    damage(written)
    write(written)
    with pytest.raises(UserError, match=r"\.parquet (is of another run|has a frame .* twice).*`dvc repro --force"):
        placed_samples(PATHS, 0)
