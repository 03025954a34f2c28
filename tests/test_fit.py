"""Runs of training on small real shard sets: learning, repeatability, what stops them, what they leave."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.contract import UserError
from tests.shard_sets import params, write_shard_set
from train import checkpoint, loop
from train.compute import Compute
from train.fit import fit
from train.methods import Given, Losses
from train.methods.ce import CE
from train.networks import Networks
from train.outputs import Outputs
from train.run import epoch_batches, prepare

LIGHT = "mobilenet_v3_small"
"""A seventh of a ResNet-18's weights to write and to sync, and dropout, which needs the random state too."""

TINY = {"image_size": 32, "batch_size": 8, "networks": 1, "epochs": 2, "workers": 0, "device": "cpu", "backbone": LIGHT}


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("set"), {"train": 48, "val": 16})


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint.load_networks(folder, name)[0].state_dict()


def test_training_learns_what_is_easy(shard_set: Path, tmp_path: Path) -> None:
    rows = fit(prepare(params(**TINY | {"backbone": "resnet18", "rampup": 9.0}), shard_set), tmp_path)
    assert rows[-1]["supervision"] < rows[0]["supervision"]
    assert rows[-1]["train_accuracy"] > 0.5
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[0]["lambda"] < rows[1]["lambda"]
    assert rows[1]["lr_backbone"] == pytest.approx(rows[0]["lr_backbone"] * 0.8)


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(shard_set: Path, tmp_path: Path) -> None:
    for name, seed, workers in (("one", 0, 0), ("two", 0, 2), ("other", 1, 0)):
        settings = TINY | {"epochs": 1, "seed": seed, "workers": workers}
        fit(prepare(params(**settings), shard_set), tmp_path / name)
    one, two, other = ((tmp_path / name / "last.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    ("balance", "precision"), [("none", "bf16"), ("oversample", "float32"), ("class_weights", "bf16")]
)
def test_every_balance_and_precision_trains(shard_set: Path, tmp_path: Path, balance: str, precision: str) -> None:
    settings = TINY | {"epochs": 1, "balance": balance, "precision": precision, "iterations_per_epoch": 2}
    rows = fit(prepare(params(**settings), shard_set), tmp_path)
    assert np.isfinite(rows[0]["loss"])


def test_weight_decay_makes_weights_smaller(shard_set: Path, tmp_path: Path) -> None:
    norms = []
    for decay in (0.0, 0.1):
        fit(prepare(params(**TINY | {"epochs": 1, "weight_decay": decay}), shard_set), tmp_path / str(decay))
        norms.append(sum(float(each.norm()) for each in weights(tmp_path / str(decay)).values() if each.ndim == 4))
    assert norms[1] < 0.99 * norms[0]


def test_the_original_code_trains_one_epoch_more_than_asked(shard_set: Path, tmp_path: Path) -> None:
    settings = TINY | {"epochs": 1, "compat": "original", "iterations_per_epoch": 1}
    assert len(fit(prepare(params(**settings), shard_set), tmp_path)) == 2


def test_weights_come_back_and_predict_the_same(shard_set: Path, tmp_path: Path) -> None:
    run = prepare(params(**TINY | {"epochs": 1, "networks": 2}), shard_set)
    fit(run, tmp_path)
    loaded, description = checkpoint.load_networks(tmp_path, "last")
    assert description["classes"] == list("abcdefg")
    compute = run.learner.compute
    for networks in (run.learner.networks, compute.place(loaded)):
        predicted = loop.predict_split(networks, run.val_stream, 16, batch_size=8, compute=compute)
        assert predicted.shape == (2, 16, 7)
        assert np.allclose(predicted.sum(-1), 1, atol=1e-5)
    again = loop.predict_split(run.learner.networks, run.val_stream, 16, batch_size=8, compute=compute)
    assert np.array_equal(predicted, again)
    assert json.loads((tmp_path / "model.json").read_text())["input"]["width"] == 32


def test_batches_of_an_epoch_are_a_function_of_parameters(shard_set: Path) -> None:
    run = prepare(params(**TINY), shard_set)
    batches = epoch_batches(run, 3)
    assert sorted(np.concatenate(batches).tolist()) == list(range(48))
    assert all(np.array_equal(a, b) for a, b in zip(batches, epoch_batches(run, 3), strict=True))


class Explodes(CE):
    """A method whose loss is not a number."""

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        bad = outputs.logits_kbc.sum() * float("nan")
        return Losses(bad, bad, bad)


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_samples(shard_set: Path) -> None:
    run = prepare(params(**TINY), shard_set)
    learner = replace(run.learner, method=Explodes())
    before = {name: value.clone() for name, value in learner.networks.named_parameters()}
    with pytest.raises(UserError, match=r"the loss is nan in epoch 0 \(batch of train-video.*no step was taken"):
        batches = epoch_batches(run, 0)
        shares = zip(batches, run.train_stream.batches(0, batches), strict=True)
        list(loop.train_batches(learner, shares, run.train.labels, epoch=0, class_weights_c=None))
    assert all(torch.equal(before[name], value) for name, value in learner.networks.named_parameters())


def test_networks_that_the_last_step_ruined_are_not_published(shard_set: Path, tmp_path: Path) -> None:
    """Its loss and its gradients are finite; nothing but the validation says what became of the weights."""
    ruin = TINY | {"backbone": "resnet18", "epochs": 1, "batch_size": 64, "lr_backbone": 1e37}
    with pytest.raises(UserError, match=r"what the networks say of val-video.* in validation is not finite"):
        fit(prepare(params(**ruin), shard_set), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_full_gpu_is_one_line(error: type[RuntimeError], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test machine has a GPU to fill: torch's own errors, raised where networks are placed."""

    def full(*_: object, **__: object) -> None:
        raise error("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")

    networks = Networks(LIGHT, networks=1, classes=7, seed=0)
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(UserError, match=r"the GPU's memory is full \(CUDA error: out of memory\)") as caught:
        Compute(devices=(torch.device("cpu"),)).place(networks)
    assert "\n" not in str(caught.value)


def test_sets_that_cannot_be_trained_on_are_refused_by_name(shard_set: Path, tmp_path: Path) -> None:
    without = write_shard_set(tmp_path / "a", {"train": 8})
    with pytest.raises(UserError, match="no samples of split val"):
        prepare(params(**TINY), without)
    with pytest.raises(UserError, match=r"manifest\.json not found"):
        prepare(params(**TINY), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device is cuda"):
            prepare(params(**TINY | {"device": "cuda"}), shard_set)
    with pytest.raises(UserError, match=r"absent\.pth not found"):
        prepare(params(**TINY | {"init": "absent.pth"}), shard_set)


def test_damaged_or_foreign_weights_are_refused(tmp_path: Path) -> None:
    networks = Networks("resnet18", networks=1, classes=7, seed=0)
    path = tmp_path / "last.safetensors"
    path.write_bytes(checkpoint.weights_of(networks))
    with pytest.raises(UserError, match="does not hold these networks"):
        checkpoint.load_weights(path, Networks("resnet18", networks=2, classes=7, seed=0))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="does not hold these networks"):
        checkpoint.load_weights(path, networks)
    with pytest.raises(UserError, match="not found"):
        checkpoint.load_weights(tmp_path / "absent", networks)


def test_a_stage_dies_with_its_parent(tmp_path: Path) -> None:
    body = (
        "import time; from pipeline.ancestors import die_with_parent; die_with_parent(); "
        "print('on', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {body!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "on\n"
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.stdout.read() == ""
