"""Shards as other programs read them: tar, webdataset, timm and Hugging Face datasets see the same samples; so does
Croissant."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.params import Params
from pipeline.shards.describing import describe
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader

pytestmark = pytest.mark.slow

Samples = dict[str, tuple[int, str, int]]
"""Key to label, video and the sum of the picture's pixels."""


@pytest.fixture(scope="module")
def described(whole: Path, tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("described") / "shards")
    manifest = read_manifest(folder)
    describe(folder, "replica", params.index, manifest["classes"], manifest["shards"])
    return folder


@pytest.fixture(scope="module")
def ours(described: Path) -> Samples:
    reader = ShardReader(described, "train")
    found = {}
    for position in range(len(reader)):
        row = reader.samples.iloc[position]
        found[reader.key(position)] = (int(row["label"]), str(row["video"]), checksum(reader.picture(position)))
    return found


def checksum(picture: Any) -> int:
    return int(np.asarray(picture.convert("RGB") if hasattr(picture, "convert") else picture).sum(dtype=np.int64))


def shards(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("train-*.tar"))


def test_tar_reads_them(described: Path, ours: Samples) -> None:
    labels = {}
    for path in shards(described):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                if name.endswith(".cls"):
                    content = archive.extractfile(name)
                    assert content is not None
                    labels[name.removesuffix(".cls")] = int(content.read())
    assert labels == {key: label for key, (label, _, _) in ours.items()}


def test_webdataset_reads_them(described: Path, ours: Samples) -> None:
    import webdataset

    found = webdataset.WebDataset(shards(described), shardshuffle=False).decode("pil")
    assert {s["__key__"]: (s["cls"], s["json"]["video"], checksum(s["jpg"])) for s in found} == ours


def test_hugging_face_datasets_reads_them(described: Path, ours: Samples, tmp_path: Path) -> None:
    from datasets import load_dataset

    found = load_dataset("webdataset", data_files={"train": shards(described)}, split="train", cache_dir=str(tmp_path))
    assert {s["__key__"]: (int(s["cls"]), s["json"]["video"], checksum(s["jpg"])) for s in found} == ours


def test_timm_reads_them(described: Path, ours: Samples) -> None:
    from timm.data.readers.reader_wds import ReaderWds

    reader = ReaderWds(root=str(described), split="train", is_training=False, batch_size=1)
    assert len(reader) == len(ours)
    found = sorted((int(label), checksum(picture)) for picture, label in reader)
    assert found == sorted((label, pixels) for label, _, pixels in ours.values())


def test_croissant_is_valid_and_its_records_are_the_samples(described: Path) -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(str(described / "croissant.json"))
    issues = dataset.metadata.issues
    assert not issues.errors
    assert all("datePublished" in warning or "citeAs" in warning for warning in issues.warnings)  # would change bytes
    records = list(dataset.records("samples"))
    table = pd.read_parquet(described / "samples.parquet")
    keys = [record["samples/key"].decode() for record in records]
    assert keys == table["key"].tolist()
    assert [record["samples/label"] for record in records] == table["label"].tolist()


def test_a_changed_file_is_noticed_by_croissant(described: Path, tmp_path: Path) -> None:
    import mlcroissant

    folder = shutil.copytree(described, tmp_path / "copy")
    with (folder / "samples.parquet").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(Exception, match=r"Download\(samples\.parquet\)"):
        list(mlcroissant.Dataset(str(folder / "croissant.json")).records("samples"))


def test_the_datasheet_says_what_it_is(described: Path, params: Params) -> None:
    text = (described / "datasheet.md").read_text()
    assert "CC0-1.0" in text and "## Personal data" in text and "May be passed on." in text
    counts = read_manifest(described)["splits"]["train"]
    assert "| train | " + " | ".join(map(str, [counts["samples"], *counts["classes"]])) + " |" in text
    restricted = params.index.model_copy(update={"restricted": True, "source": "affwild2", "licence": "an agreement"})
    describe(described, "replica", restricted, list("abcdefg"), read_manifest(described)["shards"])
    assert "Access-restricted: keep it, and every copy of it, private." in (described / "datasheet.md").read_text()
    assert json.loads((described / "croissant.json").read_text())["isAccessibleForFree"] is False
