"""The stage pretrain and what training makes of it: weights, the line that names them, what changes neither."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pipeline.contract import UserError
from pipeline.files import digest_file, read_json, write_json
from pipeline.params import Params, check_params
from tests.shard_sets import params, write_shard_set
from train.stages.pretrain import pretrain
from train.stages.train import train
from train.start import PRETRAINED, START

TINY = {"image_size": 32, "batch_size": 8, "networks": 2, "epochs": 1, "device": "cpu"}
WEIGHTS = PRETRAINED / "last.safetensors"


def asked(epochs: int, **changes: object) -> Params:
    pretraining = {"dataset": "other", "mix": {}, "epochs": epochs}
    return check_params(params().model_dump() | TINY | {"pretrain": pretraining} | changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with two shard sets: `other` to learn from first, and `demo`."""
    for name, samples in {"other": {"train": 24, "val": 8}, "demo": {"train": 16, "val": 8}}.items():
        (tmp_path / "data/shards").mkdir(parents=True, exist_ok=True)
        write_shard_set(tmp_path / name, samples).rename(tmp_path / "data/shards" / name)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


def test_without_epochs_there_is_nothing_to_start_from(folder: Path) -> None:
    pretrain(asked(0))
    assert read_json(START) == {"epochs": 0}
    assert [path.name for path in PRETRAINED.iterdir()] == ["model.json"]


@pytest.mark.slow
def test_training_starts_from_what_was_learned_on_the_other_set(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pretrain(asked(2))
    assert read_json(START) == {"epochs": 2, "weights": digest_file(WEIGHTS)}
    description = read_json(PRETRAINED / "model.json")
    assert (description["dataset"], description["method"], description["epochs"]) == ("other", "ce", 2)
    rows = pd.read_csv(PRETRAINED / "training.csv")
    assert rows["epoch"].tolist() == [0, 1] and not Path("results/training.csv").exists()
    capfd.readouterr()
    train(asked(2))
    assert "last.safetensors" in capfd.readouterr().out
    started = Path("models/demo/last.safetensors").read_bytes()
    train(asked(0, init=str(WEIGHTS)))
    assert Path("models/demo/last.safetensors").read_bytes() == started
    train(asked(0))
    assert Path("models/demo/last.safetensors").read_bytes() != started


@pytest.mark.slow
def test_a_sweep_of_methods_and_noise_does_not_change_it_but_a_seed_does(folder: Path) -> None:
    made = []
    noise = {"noise_kind": "symmetric", "noise_rate": 0.4, "balance": "oversample"}
    for changes in ({}, {"method": "jocor", "beta": 1.0, "rampup": 3.0} | noise, {"seed": 1}):
        pretrain(asked(1, **changes))
        made.append(load_file(WEIGHTS))
    first, swept, seeded = made
    assert all((first[name] == value).all() for name, value in swept.items())
    assert any((first[name] != value).any() for name, value in seeded.items())


def test_weights_that_are_not_the_named_ones_are_refused(folder: Path) -> None:
    pretrain(asked(0))
    with pytest.raises(UserError, match=r"last\.safetensors is not what .*start\.json names; run `dvc repro pretrain`"):
        train(asked(2))
    WEIGHTS.write_bytes(b"others")
    write_json(START, {"epochs": 2, "weights": "0" * 64})
    with pytest.raises(UserError, match="is not what"):
        train(asked(2))
