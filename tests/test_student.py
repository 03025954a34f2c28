"""The distilled student on its own: trained beside the networks, exported, and shown people in a clip."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import get_model
from typer.testing import CliRunner

from pipeline.contract import CLASSES
from pipeline.images import decode_jpeg
from pipeline.tar import read_members
from tests.shard_sets import params, write_shard_set
from tests.test_predict import CLIPS
from train.augment import resize
from train.cli import app
from train.compute import MEAN, STD
from train.export import FORMATS, TOLERANCE, run_exported
from train.fit import fit
from train.run import prepare

SEVEN = CLASSES[:7]
SIDE = 32
SETTINGS = {"image_size": SIDE, "batch_size": 8, "networks": 2, "epochs": 1, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("shards"), {"train": 48, "val": 16}, names=SEVEN)


@pytest.fixture(scope="module")
def model(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an epoch of training with `distill: on` leaves."""
    folder = tmp_path_factory.mktemp("student")
    fit(prepare(params(**SETTINGS, distill="on"), shards), folder)
    return folder


def student_says(model: Path, faces: np.ndarray) -> np.ndarray:
    """The student as anybody would load it: one torchvision network from its own file; B x 3 x S x S bytes."""
    network = get_model("resnet18", weights=None, num_classes=7)
    weights = load_file(model / "student.safetensors")
    network.load_state_dict({key.removeprefix("networks.0."): value for key, value in weights.items()})
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.inference_mode():
        said: np.ndarray = network.eval()((torch.from_numpy(faces).float() / 255 - mean) / std).softmax(-1).numpy()
    return said


@pytest.mark.slow
def test_every_export_of_the_student_says_what_the_student_says(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    options = ["--model", str(model), "--out", str(out), "--student", "--formats", ",".join(FORMATS)]
    done = CliRunner().invoke(app, ["export", *options])
    assert done.exit_code == 0, done.output
    faces = np.random.default_rng(1).integers(0, 256, (5, 3, SIDE, SIDE), dtype=np.uint8)
    expected = student_says(model, faces)
    for name, (file, _, _) in FORMATS.items():
        said = run_exported(name, out / file, faces.astype(np.float32))
        assert np.abs(said - expected).max() <= TOLERANCE, name
    card = (out / "MODEL_CARD.md").read_text()
    assert "student" in card and "mean of 1 softmax" in (out / "model.json").read_text()


@pytest.mark.slow
def test_the_command_asks_the_student_and_not_the_ensemble(model: Path, tmp_path: Path, demo: Path) -> None:
    clip = demo / CLIPS / "demo-001.mp4"
    for name, options in (("student", ["--student"]), ("ensemble", [])):
        out = tmp_path / f"{name}.csv"
        done = CliRunner().invoke(app, ["predict", str(clip), "--model", str(model), "--out", str(out), *options])
        assert done.exit_code == 0, done.output
    faces = CliRunner().invoke(app, ["faces", str(clip), "--out", str(tmp_path / "faces")])
    assert faces.exit_code == 0, faces.output
    student, ensemble = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("student", "ensemble"))
    shown = np.stack([_small(content) for _, content in read_members(tmp_path / "faces/faces.tar")])
    np.testing.assert_allclose(student[list(SEVEN)].to_numpy(), student_says(model, shown), atol=TOLERANCE)
    assert np.abs(student[list(SEVEN)].to_numpy() - ensemble[list(SEVEN)].to_numpy()).max() > 100 * TOLERANCE


def _small(jpeg: bytes) -> np.ndarray:
    return resize(decode_jpeg(jpeg), SIDE).transpose(2, 0, 1)


@pytest.mark.slow
def test_a_model_without_a_student_says_how_to_get_one(shards: Path, tmp_path: Path) -> None:
    fit(prepare(params(**SETTINGS | {"iterations_per_epoch": 1}), shards), tmp_path / "model")
    done = CliRunner().invoke(app, ["export", "--model", str(tmp_path / "model"), "--out", "out", "--student"])
    assert "dvc exp run -S distill=on" in str(done.exception) and not Path("out").exists()
