"""Every layout from its replica to metrics: counts as the replica's truth has them, and each oddity reported."""

import concurrent.futures
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.contract import Drop, Paths, UserError
from pipeline.params import Params, check_params
from pipeline.shards.manifest import read_manifest
from pipeline.shards.reading import ShardReader
from pipeline.shards.verification import verify
from pipeline.stages.align import align_all
from pipeline.stages.extract import extract_all
from pipeline.stages.index import build_index
from pipeline.stages.shard import shard_all
from tests.conftest import ROOT
from tests.replicas import affectnet, affwild2, ferplus, rafdb
from tests.replicas.base import Replica
from train.fit import fit
from train.methods.ltnet import LTNet
from train.run import prepare, run_key

pytestmark = pytest.mark.slow

Records = dict[str, dict[str, Any]]

REPLICAS: dict[str, Callable[[Path], Replica]] = {
    "affwild2-2020": affwild2.make_first,
    "affwild2-2021": affwild2.make_second,
    "affwild2-later": affwild2.make_later,
    "affwild2_cropped": affwild2.make_cropped,
    "affwild2_pickle": affwild2.make_pickle,
    "affectnet-old": affectnet.make_old,
    "affectnet-new": affectnet.make_new,
    "rafdb": rafdb.make,
    "ferplus": ferplus.make,
}
TINY = {
    "networks": 1,
    "epochs": 1,
    "batch_size": 16,
    "image_size": 32,
    "extract.stride": 1,
    "shard.samples_per_shard": 25,
    "evaluate.bootstrap": 100,
    "engine.workers": 1,
    "align.device": "cpu",
    "device": "cpu",
}


class Here(concurrent.futures.Executor):
    """Runs what is submitted at once, in this process: new ones would take longer than all the work."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "concurrent.futures.Future[Any]":
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True, kw_only=True)
class Built:
    """A replica after all stages but the report, and the folder they ran in."""

    name: str
    replica: Replica
    folder: Path
    paths: Paths

    @property
    def samples(self) -> pd.DataFrame:
        """The whole sample table."""
        return pd.read_parquet(self.folder / self.paths.shards / "samples.parquet")

    def records(self) -> Records:
        """The json of each sample by its key, as tarfile reads it."""
        found = {}
        for path in sorted((self.folder / self.paths.shards).glob("*.tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.name.endswith(".json"):
                        content = archive.extractfile(member)
                        assert content is not None
                        found[member.name.removesuffix(".json")] = json.loads(content.read())
        return found


def read_params(replica: Replica) -> Params:
    raw = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    index = {"index.layout": replica.layout, "index.raw": str(replica.raw), "index.annotations": replica.annotations}
    for key, value in (TINY | {"dataset": "replica"} | index | replica.changes).items():
        group, _, name = key.rpartition(".")
        (raw[group] if group else raw)[name] = value
    return check_params(raw)


@pytest.fixture(scope="module", params=REPLICAS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    from train.stages.evaluate import evaluate
    from train.stages.train import train

    folder = tmp_path_factory.mktemp(request.param)
    replica = REPLICAS[request.param](folder / "raw")
    params, before = read_params(replica), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concurrent.futures, "ProcessPoolExecutor", Here)
        os.chdir(folder)
        try:
            for stage in (build_index, extract_all, align_all, shard_all, train, evaluate):
                stage(params)
        finally:
            os.chdir(before)
    yield Built(name=request.param, replica=replica, folder=folder, paths=Paths(dataset="replica"))


def test_from_replica_to_metrics(built: Built) -> None:
    replica, results = built.replica, built.folder / "results"
    assert verify(built.folder / built.paths.shards) == []
    assert {"_info.json", "croissant.json", "datasheet.md"} <= read_manifest(built.folder / built.paths.shards)[
        "files"
    ].keys()
    counted = Counter(zip(built.samples["split"], built.samples["label"].tolist(), strict=True))
    assert counted == +replica.samples
    drops = pd.read_csv(results / "quarantine.csv", keep_default_na=False)
    found = drops.groupby("reason")["frames"].sum().to_dict()
    assert found == dict(replica.drops)
    reported = (results / "quarantine.csv").read_text() + (results / "mismatch.csv").read_text()
    assert [text for text in replica.told if text not in reported] == []
    metrics = json.loads((results / "metrics.json").read_text())
    assert 0 <= metrics["f1_low"] <= metrics["f1"] <= metrics["f1_high"] <= 1
    predictions = pd.read_parquet(results / "predictions.parquet")
    assert len(predictions) == sum(count for (split, _), count in replica.samples.items() if split == "val")


def test_every_label_is_a_sample_or_has_a_reason(built: Built) -> None:
    rows = pd.read_parquet(built.folder / built.paths.trials)["rows"].sum()
    drops = pd.read_csv(built.folder / "results/quarantine.csv")
    gone = {"affwild2_pickle": len(affwild2.CROPPED)}.get(built.name, 0)  # rows that the pickle leaves out
    lines = {"rafdb": 2, "affwild2-later": 1}.get(built.name, 0)  # of the list, no picture; of a missing video
    assert rows - gone == len(built.samples) + drops["frames"].sum() - lines


def test_what_else_is_known_is_in_the_record(built: Built) -> None:
    records, samples = built.records(), built.samples.set_index("key")
    for name in ("valence", "arousal", "picture", "action_units", "votes"):
        known = samples[name].notna()
        assert {key for key, record in records.items() if name in record} == set(known[known].index)
    CHECKS[built.replica.layout](records)


def check_affect(records: Records) -> None:
    """As `write_tracks` wrote them: row by row, and absent where ignored."""
    editions = [{f"AU{unit}" for unit in edition.units} for edition in (affwild2.FIRST, affwild2.LATER)]
    for record in records.values():
        row = record["frame"]
        assert ("valence" in record) == ("arousal" in record) == bool(row % 5)
        assert record.get("valence", row / 100) == row / 100
        assert record["action_units"].keys() in [units - ({"AU2"} if row % 3 == 0 else set()) for units in editions]
        assert all(active == int(name[2:]) % 2 for name, active in record["action_units"].items())


def check_crops(records: Records) -> None:
    check_affect(records)
    assert all(record["picture"].endswith(f"/{record['frame'] + 1:05d}.jpg") for record in records.values())
    assert {record["subject"] for record in records.values()} == {"", "left", "right"}
    assert all(record["landmarks"] is None and record["probability"] is None for record in records.values())


def check_pickle(records: Records) -> None:
    assert all(record["valence"] == (record["frame"] + 1) / 100 for record in records.values())
    assert all(record["arousal"] == -0.25 for record in records.values())


def check_affectnet(records: Records) -> None:
    assert {record["valence"] for record in records.values()} <= {0.25, 0.5}
    assert all(len(record["landmarks"]) == 5 for record in records.values())


def check_rafdb(records: Records) -> None:
    """`noise01.txt` says something else of every fourth training picture."""
    for record in records.values():
        is_train = "/train_" in record["picture"]
        assert ("listed_label" in record) == is_train
        if is_train:
            number = int(record["picture"][-17:-12])
            theirs = number % 7 + 1
            assert record["listed_label"] == rafdb.OURS[theirs % 7 + 1 if number % 4 == 0 else theirs]


def check_ferplus(records: Records) -> None:
    """Seven votes for the class, two for the next; votes for none of the classes are not there."""
    assert {sum(record["votes"]) for record in records.values()} == {9, 10}
    assert {len(record["votes"]) for record in records.values()} == {7}
    names = {record["picture"] for record in records.values()}
    assert len(names) == len(records) and "fer0000000.png" in names


def test_ltnet_learns_from_the_votes_of_the_set(built: Built, tmp_path: Path) -> None:
    """The shares are those of the record that lies beside each picture; the crowd has a matrix of its own."""
    folder, raw = built.folder / built.paths.shards, read_params(built.replica).model_dump()
    ltnet = {"labels": "votes", "diagonal": 0.9}
    params = check_params(raw | {"method": "ltnet", "networks": None, "ltnet": ltnet})
    if built.replica.layout != "ferplus":
        with pytest.raises(UserError, match=r"ltnet\.labels is votes, but .*shards/replica holds none"):
            prepare(params, folder)
        return
    run = prepare(params, folder)
    assert isinstance(run.learner.method, LTNet) and run.learner.method.shares_nc is not None
    for key, share in zip(run.train.reader.samples["key"], run.learner.method.shares_nc.numpy(), strict=True):
        votes = np.array(built.records()[key]["votes"])
        np.testing.assert_allclose(share, votes / votes.sum(), rtol=1e-6)
    (row,) = fit(run, tmp_path)
    assert {"diagonal_0", "diagonal_1"} <= row.keys() and "diagonal_2" not in row
    assert np.isfinite(row["loss"])
    run_key(run)


CHECKS = {
    "affwild2": check_affect,
    "affwild2_cropped": check_crops,
    "affwild2_pickle": check_pickle,
    "affectnet": check_affectnet,
    "rafdb": check_rafdb,
    "ferplus": check_ferplus,
}


def test_marks_are_read_in_the_order_of_the_samples(built: Built) -> None:
    folder = built.folder / built.paths.shards
    reader = ShardReader(folder, "train")
    samples = built.samples.set_index("key").loc[reader.samples["key"]]
    for name in ("picture", "valence", "listed_label", "action_units"):
        assert reader.marks(name).astype(object).where(reader.marks(name).notna(), None).tolist() == (
            samples[name].astype(object).where(samples[name].notna(), None).tolist()
        )


def test_damaged_crops_of_a_trial_that_is_left_out_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = affwild2.make_cropped(tmp_path / "raw")
    replica.changes["index.mismatch"] = "skip"
    skipped, kept = "video7", "48-30-720x1280_left"
    for name in (skipped, kept):
        picture = tmp_path / f"raw/cropped_aligned/{name}/00003.jpg"
        content = picture.read_bytes()
        picture.write_bytes(content[: len(content) * 3 // 4])
    params = read_params(replica)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Here)
    monkeypatch.chdir(tmp_path)
    build_index(params)
    extract_all(params)
    drops = pd.read_parquet(Paths(dataset="replica").frames / "drops.parquet")
    frames = drops.groupby(["trial", "reason"], observed=True)["frames"].sum()
    assert frames[skipped].to_dict() == {Drop.COUNTS_DISAGREE: affwild2.CROPPED[skipped][1]}
    assert frames[kept].to_dict() == {Drop.PICTURE_UNREADABLE: 1}
