"""Every method through the real stage on a small real shard set: an epoch, what it writes, what evaluation says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from tests.shard_sets import params, write_shard_set
from train import checkpoint
from train.fit import fit
from train.methods import METHODS
from train.networks import Networks
from train.run import prepare
from train.starting_points import load_backbone

SMALL = {"image_size": 32, "batch_size": 12, "epochs": 1, "device": "cpu", "forget_rate": 0.3}
NOISE = {"noise_kind": "symmetric", "noise_rate": 0.4, "noise_unit": "frame"}


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("set"), {"train": 48, "val": 16})


def asked(method: str, **changes: object) -> object:
    from pipeline.params import check_params

    raw = params().model_dump() | SMALL | {"method": method, "networks": None} | changes
    return check_params(raw)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_noisy_labels_and_tells_what_it_remembers(
    method: str, shard_set: Path, tmp_path: Path
) -> None:
    scn = params().scn.model_dump() | {"relabel_from": 0}
    run = prepare(asked(method, **NOISE, scn=scn), shard_set)
    (row,) = fit(run, tmp_path)
    assert np.isfinite([value for value in row.values() if isinstance(value, float)]).all()
    assert 0 <= row["flipped_fit"] <= 1
    assert sum(row[f"agree_{k}"] for k in range(1, run.params.networks + 1)) == pytest.approx(1)
    networks, description = checkpoint.load_networks(tmp_path, "last")
    assert description["method"] == method
    assert networks.size == run.params.networks
    state = {name: value.clone() for name, value in run.learner.method.state_dict().items()}
    again = prepare(asked(method, **NOISE, scn=scn, workers=2), shard_set)
    fit(again, tmp_path / "again")
    assert state.keys() == again.learner.method.state_dict().keys()
    assert all((state[name] == value).all() for name, value in again.learner.method.state_dict().items())
    assert (tmp_path / "last.safetensors").read_bytes() == (tmp_path / "again/last.safetensors").read_bytes()


@pytest.mark.slow
def test_a_student_is_trained_stored_and_scored_apart(
    shard_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.stages.evaluate import evaluate
    from train.stages.train import train

    monkeypatch.chdir(tmp_path)
    shutil.copytree(shard_set, "data/shards/demo")
    both = asked("cct", networks=2, distill="on", batch_size=16)
    train(both)
    evaluate(both)
    table = pd.read_csv("results/training.csv")
    assert {"distillation", "val_f1_student", "val_f1_1", "val_f1_2"} <= set(table.columns)
    student = load_file("models/demo/student.safetensors")
    last = load_file("models/demo/last.safetensors")
    assert all((value == last[f"networks.2.{name}"]).all() for name, value in student.items())
    fresh = Networks("resnet18", networks=1, classes=7, seed=5).networks[0]
    assert load_backbone(fresh, Path("models/demo/student.safetensors"), index=0).missing == ()
    evaluated = json.loads(Path("results/evaluation.json").read_text())
    assert len(evaluated["networks"]) == len(evaluated["agreement"]) == 2
    assert json.loads(Path("results/metrics.json").read_text())["student_f1"] == evaluated["student"]["f1"]
    predictions = pd.read_parquet("results/predictions.parquet")
    sums = predictions[[f"s_p{c}" for c in range(7)]].sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert "| student |" in Path("results/scores.md").read_text()


@pytest.mark.slow
def test_a_student_changes_nothing_for_the_others(shard_set: Path, tmp_path: Path) -> None:
    for name, distill in (("with", "on"), ("without", "off")):
        fit(prepare(asked("cct", networks=2, distill=distill), shard_set), tmp_path / name)
    with_student, without = (load_file(tmp_path / name / "last.safetensors") for name in ("with", "without"))
    assert all((with_student[name] == value).all() for name, value in without.items())
