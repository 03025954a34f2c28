"""Shard sets as they are written: the same bytes every time, read alike by tarfile, webdataset and our reader."""

import hashlib
import io
import json
import math
import multiprocessing
import os
import pickle
import random
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

from pipeline.contract import BOX_COLUMNS, POINT_COLUMNS, POSE_COLUMNS, SAMPLE_COLUMNS, UserError, sample_key
from pipeline.images import decode_jpeg, encode_jpeg
from pipeline.shards import opened
from pipeline.shards.manifest import SAMPLES, read_manifest
from pipeline.shards.opened import PictureFiles
from pipeline.shards.placing import shard_bounds, shuffled
from pipeline.shards.reading import ShardReader
from pipeline.shards.writing import ShardTask, write_shard
from pipeline.tables import read_table, write_table
from tests.shard_sets import SIZES, write_shard_set

JPEG = encode_jpeg(np.full((224, 224, 3), 99, np.uint8), 90)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def members(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Shard, name and content of everything in the shards, by the standard library."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                yield path.name, member.name, content.read()


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
    table = read_table(whole / SAMPLES, SAMPLE_COLUMNS)
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
    table = read_table(whole / SAMPLES, SAMPLE_COLUMNS)
    train = table[table["split"] == "train"]
    assert [sample["__key__"] for sample in samples] == train["key"].tolist()
    assert [int(sample["cls"]) for sample in samples] == train["label"].tolist()
    assert [json.loads(sample["json"])["video"] for sample in samples] == train["video"].tolist()
    reader = ShardReader(whole, "train")
    assert [sample["__key__"] for sample in samples] == [reader.key(position) for position in range(len(reader))]
    assert [sample["jpg"] for sample in samples] == [reader.jpeg(position) for position in range(len(reader))]


def shard_task(folder: Path, jpegs: list[bytes], **columns: object) -> ShardTask:
    """A shard of these pictures, which lie one behind another in `faces.tar`; its other columns may be given."""
    (folder / "faces.tar").write_bytes(b"".join(jpegs))
    row: dict[str, object] = {"label": 3, "tar": "faces.tar", "track": 5, "probability": 0.75, "interpolated": True}
    row |= {"split": "train", "trial": "a_left", "video": "a", "subject": "left", "brightness": 1.5, "sharpness": 0.25}
    row |= {name: float(index) for index, name in enumerate((*BOX_COLUMNS, *POINT_COLUMNS, *POSE_COLUMNS))}
    sizes = np.array([len(jpeg) for jpeg in jpegs])
    places = {"offset": sizes.cumsum() - sizes, "size": sizes, "frame_index": np.arange(len(jpegs)) + 7}
    samples = pd.DataFrame(places).assign(**row | columns)
    path = folder / "out/s.tar"
    return ShardTask(path=path, split="train", samples=samples, source="here", faces=folder, classes=7)


def test_a_record_tells_where_its_face_was(tmp_path: Path) -> None:
    written = write_shard(shard_task(tmp_path, [JPEG]))
    assert written.line["classes"] == [0, 0, 0, 1, 0, 0, 0]
    contents = {name: content for _, name, content in members(tmp_path / "out")}
    assert contents["a_left_000007.jpg"] == JPEG
    assert json.loads(contents["a_left_000007.json"]) == {
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
        "quality": {"interocular": round(math.sqrt(8), 3), "brightness": 1.5, "sharpness": 0.25},
    }


@given(name=st.text(max_size=20), numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4))
def test_a_record_is_what_a_json_encoder_writes(scratch: Path, name: str, numbers: list[float]) -> None:
    columns = {"x0": numbers[0], "nose_y": numbers[1], "yaw": numbers[2], "sharpness": numbers[3]}
    texts = {"trial": name, "video": f"{name}\n", "subject": "right"}
    write_shard(shard_task(scratch, [JPEG, JPEG], **columns, **texts, interpolated=[True, False]))
    for (_, _, content), interpolated in zip(list(members(scratch / "out"))[2::3], (True, False), strict=True):
        record = json.loads(content)
        assert content == json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        found = (record["box"][0], record["landmarks"][2][1], record["pose"]["yaw"], record["quality"]["sharpness"])
        assert found == tuple(numbers[:4])
        assert (record["trial"], record["video"], record["interpolated"]) == (name, f"{name}\n", interpolated)


def test_a_record_tells_every_number_as_python_does(tmp_path: Path) -> None:
    """Also where the library that writes them would not: whole, small, large ones, and one that is unknown."""
    numbers = [0.0, -0.0, 3.0, -2.5, 1e-4, 9e-5, 1e-7, 1e15, 1e16, 2.0**53, 0.1, 100 / 3, 123456.015625, 5e-324]
    numbers += [1e10, 99999999999.5]
    columns = {"x1": numbers, "pitch": numbers[::-1], "probability": [math.nan, *numbers[1:]]}
    write_shard(shard_task(tmp_path, [JPEG] * len(numbers), **columns))
    contents = [content for _, _, content in members(tmp_path / "out")][2::3]
    for content, number, pitch, probability in zip(contents, *columns.values(), strict=True):
        record = json.loads(content)
        assert content == json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        assert (record["box"][2], record["pose"]["pitch"]) == (number, pitch)
        assert record["probability"] == (None if math.isnan(probability) else probability)


def test_the_line_of_a_shard_is_true(tmp_path: Path) -> None:
    task = shard_task(tmp_path, [JPEG] * 700)
    written = write_shard(task)
    content = task.path.read_bytes()
    assert written.line["sha256"] == hashlib.sha256(content).hexdigest()
    assert (written.line["bytes"], written.line["samples"]) == (len(content), 700)
    assert all(content[offset : offset + len(JPEG)] == JPEG for offset in written.offsets)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"tar": "gone.tar"}, "gone.tar: sample a_left_000007: No such file"),
        ({"size": 5000}, "faces.tar: sample a_left_000007: ends after"),
        ({"offset": 1, "size": 700}, "faces.tar: sample a_left_000007: not a JPEG"),
        ({"size": 700}, "faces.tar: sample a_left_000007: not a JPEG"),
        ({"nose_x": math.nan}, "a landmark or measure is not finite"),
        ({"brightness": math.inf}, "a landmark or measure is not finite"),
    ],
)
def test_a_face_that_is_not_there_is_named_and_no_shard_left(
    tmp_path: Path, columns: dict[str, object], said: str
) -> None:
    task = shard_task(tmp_path, [JPEG], **columns)
    with pytest.raises(UserError) as caught:
        write_shard(task)
    assert said in str(caught.value) and "`dvc repro --force --single-item align`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(task.path.parent.iterdir()) == []


def test_few_files_are_open_however_many_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_MOST_OPEN", 3)
    pictures = {f"{index}.tar": JPEG[:-2] + bytes([index]) + JPEG[-2:] for index in range(9)}
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = PictureFiles(tmp_path)
    for name in random.Random(0).choices(list(pictures), k=60):
        assert files.jpeg(name, 0, len(pictures[name])) == pictures[name]
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    files.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_manifest_counts_what_is_there(whole: Path) -> None:
    manifest = read_manifest(whole)
    table = read_table(whole / SAMPLES, SAMPLE_COLUMNS)
    for line in manifest["shards"]:
        group = table[table["shard"] == line["name"]]
        assert line["samples"] == len(group)
        assert line["classes"] == np.bincount(group["label"], minlength=7).tolist()
    for split, size in SIZES.items():
        assert manifest["splits"][split]["samples"] == size
        assert sum(manifest["splits"][split]["classes"]) == size


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


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_shard_that_goes_while_it_is_read_is_named(folder: Path, damage: str) -> None:
    reader = ShardReader(folder, "val")
    path = folder / "val-000000.tar"
    path.unlink() if damage == "missing" else os.truncate(path, 5000)
    with pytest.raises(UserError, match=r"val-000000\.tar: sample .*`cct verify "):
        reader.jpeg(2)


def test_millions_of_samples_fit_into_a_worker(tmp_path: Path) -> None:
    """What a loader's process is sent stays below 50 MB for Aff-Wild2's 2.6 million frames."""
    count = 100_000
    trials = [f"10-60-1280x720_right_{index // 5000}" for index in range(count)]
    columns = {"trial": trials, "video": trials, "key": list(map(sample_key, trials, range(count))), "subject": "right"}
    frame = pd.DataFrame(columns).assign(split="train", frame_index=range(count), label=3, offset=2**28, size=2**14)
    write_table(tmp_path / SAMPLES, frame.assign(shard="train-000000.tar"), SAMPLE_COLUMNS)
    assert len(pickle.dumps(ShardReader(tmp_path, "train"))) / count * 2_600_000 < 50e6


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_depends_on_keys_and_seed_alone(keys: list[str], seed: int, luck: random.Random) -> None:
    order = shuffled(keys, seed)
    assert order.tolist() == sorted(
        range(len(keys)), key=lambda position: hashlib.sha256(f"{seed}:{keys[position]}".encode()).hexdigest()
    )
    mixed = luck.sample(keys, len(keys))
    arranged = [keys[position] for position in order]
    assert [mixed[position] for position in shuffled(mixed, seed)] == arranged
    fewer = keys[::2]
    assert [fewer[position] for position in shuffled(fewer, seed)] == [key for key in arranged if key in fewer]


def test_the_order_differs_between_seeds_and_scatters_neighbours() -> None:
    keys = [f"video_{index:06d}" for index in range(1000)]
    one, other = shuffled(keys, 0), shuffled(keys, 1)
    assert (one != other).any()
    assert abs(np.corrcoef(range(1000), one)[0, 1]) < 0.1


@given(st.integers(0, 5000), st.integers(1, 700))
def test_shards_are_few_even_and_cover_everything(samples: int, most: int) -> None:
    bounds = shard_bounds(samples, most)
    assert [index for begin, end in bounds for index in range(begin, end)] == list(range(samples))
    assert len(bounds) == math.ceil(samples / most)
    sizes = [end - begin for begin, end in bounds]
    assert all(0 < size <= most for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
