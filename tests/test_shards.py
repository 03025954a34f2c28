"""Shard sets: the same bytes every time, read alike by tarfile, webdataset and our reader, and damage always found."""

import io
import json
import math
import multiprocessing
import random
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline import shards
from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, SAMPLE_COLUMNS, UserError
from pipeline.images import decode_jpeg
from pipeline.shards import ShardReader
from pipeline.tables import read_table
from tests.shard_sets import write_shard_set

SIZES = {"train": 9, "val": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard set that is only read: two training shards and one to validate."""
    return write_shard_set(tmp_path_factory.mktemp("whole"), SIZES, samples_per_shard=5)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return shutil.copytree(whole, tmp_path / "shards")


def members(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Shard, name and content of everything in the shards, by the standard library."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                yield path.name, member.name, content.read()


def found_wrong(folder: Path) -> list[str]:
    """What verification says; a manifest that is not believed at all counts as one finding."""
    try:
        return shards.verify(folder)
    except UserError as error:
        return [str(error)]


def test_the_same_samples_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    again = write_shard_set(tmp_path, SIZES, samples_per_shard=5)
    assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_every_sample_has_its_three_members_together_in_order(whole: Path) -> None:
    names = [name for _, name, _ in members(whole)]
    for begin in range(0, len(names), 3):
        key = names[begin].split(".")[0]
        assert names[begin : begin + 3] == [f"{key}.cls", f"{key}.jpg", f"{key}.json"]
    assert len(names) == 3 * sum(SIZES.values())


def test_offsets_point_at_the_very_pictures(whole: Path) -> None:
    stored = {(shard, name): content for shard, name, content in members(whole)}
    table = read_table(whole / shards.SAMPLES, SAMPLE_COLUMNS)
    assert len(table) == sum(SIZES.values())
    for row in table.to_dict("records"):
        shard = (whole / str(row["shard"])).read_bytes()
        picture = shard[row["offset"] : row["offset"] + row["size"]]
        assert picture == stored[row["shard"], f"{row['key']}.jpg"]
        assert Image.open(io.BytesIO(picture)).size == (224, 224)
        assert stored[row["shard"], f"{row['key']}.cls"] == str(row["label"]).encode()


def test_webdataset_reads_what_was_written(whole: Path) -> None:
    paths = sorted(str(path) for path in whole.glob("train-*.tar"))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    table = read_table(whole / shards.SAMPLES, SAMPLE_COLUMNS)
    train = table[table["split"] == "train"]
    assert [sample["__key__"] for sample in samples] == train["key"].tolist()
    assert [int(sample["cls"]) for sample in samples] == train["label"].tolist()
    assert [json.loads(sample["json"])["video"] for sample in samples] == train["video"].tolist()
    reader = ShardReader(whole, "train")
    assert [sample["jpg"] for sample in samples] == [reader.jpeg(position) for position in range(len(reader))]


def test_a_record_tells_where_its_face_was(tmp_path: Path) -> None:
    (tmp_path / "faces.tar").write_bytes(b"xxJPEGyy")
    numbers = {name: float(index) for index, name in enumerate((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS))}
    row = {"key": "a_000007", "label": 3, "tar": "faces.tar", "offset": 2, "size": 4, "track": 5, "probability": 0.75}
    row |= {"split": "train", "trial": "a_left", "video": "a", "subject": "left", "frame_index": 7, "shard": ""}
    samples = pd.DataFrame([row | numbers | {"brightness": 101.5, "sharpness": 12.25, "interpolated": True}])
    task = shards.ShardTask(
        path=tmp_path / "out" / "s.tar", split="train", samples=samples, source="here", faces=tmp_path, classes=7
    )
    written = shards.write_shard(task)
    assert written.line["classes"] == [0, 0, 0, 1, 0, 0, 0]
    contents = {name: content for _, name, content in members(tmp_path / "out")}
    assert contents["a_000007.jpg"] == b"JPEG"
    assert json.loads(contents["a_000007.json"]) == {
        "video": "a",
        "trial": "a_left",
        "subject": "left",
        "frame": 7,
        "source": "here",
        "track": 5,
        "probability": 0.75,
        "interpolated": True,
        "pose": {"yaw": 14, "pitch": 15, "roll": 16},
        "box": [0, 1, 2, 3],
        "landmarks": [[4, 5], [6, 7], [8, 9], [10, 11], [12, 13]],
        "quality": {"interocular": round(math.sqrt(8), 3), "brightness": 101.5, "sharpness": 12.25},
    }


def test_the_manifest_counts_what_is_there(whole: Path) -> None:
    manifest = shards.read_manifest(whole)
    table = read_table(whole / shards.SAMPLES, SAMPLE_COLUMNS)
    for line in manifest["shards"]:
        group = table[table["shard"] == line["name"]]
        assert line["samples"] == len(group)
        assert line["classes"] == np.bincount(group["label"], minlength=7).tolist()
    for split, size in SIZES.items():
        assert manifest["splits"][split]["samples"] == size
        assert sum(manifest["splits"][split]["classes"]) == size


def test_any_changed_byte_of_shards_and_tables_is_found_and_its_file_named(folder: Path) -> None:
    places = random.Random(0)
    for path in sorted(set(folder.iterdir()) - {folder / shards.MANIFEST}):
        content = path.read_bytes()
        for position in (0, len(content) - 1, *(places.randrange(len(content)) for _ in range(12))):
            damaged = bytearray(content)
            damaged[position] ^= 1 << places.randrange(8)
            path.write_bytes(damaged)
            assert [str(path) in problem for problem in shards.verify(folder)] == [True]
        path.write_bytes(content)
    shards.require_verified(folder)


def test_any_changed_byte_of_the_manifest_is_found(folder: Path) -> None:
    path = folder / shards.MANIFEST
    content = path.read_bytes()
    unnoticed = []
    for position in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        if not found_wrong(folder):
            unnoticed.append(content[max(0, position - 20) : position + 10])
    assert unnoticed == []


@pytest.mark.parametrize("name", ["train-000000.tar", "val-000000.tar", shards.SAMPLES])
def test_a_cut_or_missing_file_is_named(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as stream:
        stream.truncate((folder / name).stat().st_size - 1)
    assert [str(folder / name) in problem for problem in shards.verify(folder)] == [True]
    (folder / name).unlink()
    assert shards.verify(folder) == [f"{folder / name}: missing"]


@pytest.mark.parametrize("name", ["train-000009.tar", "notes.txt", ".hidden"])
def test_an_extra_file_is_named(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert shards.verify(folder) == [f"{folder / name}: not in the manifest"]


def test_training_is_refused_with_the_file_and_what_to_run(folder: Path) -> None:
    (folder / "val-000000.tar").unlink()
    (folder / "notes.txt").touch()
    with pytest.raises(UserError) as caught:
        shards.require_verified(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'val-000000.tar'}: missing (and 1 more); ")
    assert "`dvc pull --force" in message and "`dvc repro --force --single-item shard`" in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"format": 2}', b'{"format": 1}'])
def test_a_manifest_of_another_kind_is_refused_by_name(folder: Path, content: bytes | None) -> None:
    (folder / shards.MANIFEST).unlink()
    if content is not None:
        (folder / shards.MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json.*`dvc repro`"):
        shards.verify(folder)


def test_the_reader_can_be_sent_to_another_process(whole: Path) -> None:
    reader = ShardReader(whole, "val")
    assert len(reader) == SIZES["val"]
    here = [reader.jpeg(position) for position in range(len(reader))]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(reader.jpeg, range(len(reader)))) == here
    assert np.array_equal(reader.picture(1), decode_jpeg(here[1]))


def test_a_damaged_picture_is_named_by_its_key(folder: Path) -> None:
    reader = ShardReader(folder, "train")
    row = reader.samples.iloc[6]
    with (folder / row["shard"]).open("r+b") as stream:
        stream.seek(row["offset"])
        stream.write(bytes(100))
    with pytest.raises(UserError) as caught:
        reader.picture(6)
    for part in (row["key"], row["shard"], f"`cct verify {folder}`"):
        assert part in str(caught.value)
    reader.picture(5)


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_depends_on_keys_and_seed_alone(keys: list[str], seed: int, luck: random.Random) -> None:
    order = shards.shuffled(keys, seed)
    assert sorted(order) == list(range(len(keys)))
    mixed = luck.sample(keys, len(keys))
    arranged = [keys[position] for position in order]
    assert [mixed[position] for position in shards.shuffled(mixed, seed)] == arranged
    fewer = keys[::2]
    assert [fewer[position] for position in shards.shuffled(fewer, seed)] == [key for key in arranged if key in fewer]


def test_the_order_differs_between_seeds_and_scatters_neighbours() -> None:
    keys = [f"video_{index:06d}" for index in range(1000)]
    one, other = shards.shuffled(keys, 0), shards.shuffled(keys, 1)
    assert one != other
    assert abs(np.corrcoef(range(1000), one)[0, 1]) < 0.1


@given(st.integers(0, 5000), st.integers(1, 700))
def test_shards_are_few_even_and_cover_everything(samples: int, most: int) -> None:
    bounds = shards.shard_bounds(samples, most)
    assert [index for begin, end in bounds for index in range(begin, end)] == list(range(samples))
    assert len(bounds) == math.ceil(samples / most)
    sizes = [end - begin for begin, end in bounds]
    assert all(0 < size <= most for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
