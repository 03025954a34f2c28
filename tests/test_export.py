"""Exported models: the same figures as PyTorch in runtimes of their own, and in an environment without this project."""

import csv
import io
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline import geometry, images
from pipeline.contract import CLASSES, UserError
from pipeline.faces import FrameSize, crop_face
from pipeline.video import read_frames
from tests.conftest import Truth
from train import checkpoint
from train.augment import resize
from train.cli import app
from train.export import Exported, largest_difference, metadata_of
from train.networks import Networks

SIDE = 48
DESCRIPTION = {
    "backbone": "resnet18",
    "networks": 2,
    "student": False,
    "method": "cct",
    "classes": list(CLASSES[:7]),
    "seed": 3,
    "dataset": "demo",
    "shards": "0" * 64,
    "input": {"width": SIDE, "height": SIDE, "template_scale": 1.0},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    networks = Networks("resnet18", networks=2, classes=7, seed=3)
    checkpoint.publish(folder, {"last": checkpoint.weights_of(networks)}, DESCRIPTION)
    return folder


def test_the_ensemble_is_normalised_and_averaged_inside(model: Path) -> None:
    networks, _ = checkpoint.load_networks(model, "last")
    exported = Exported(networks.networks).eval()
    faces = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, SIDE, SIDE)).astype(np.float32))
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        expected = networks.eval()((faces / 255 - mean) / std).logits_kbc.softmax(-1).mean(0)
        torch.testing.assert_close(exported(faces), expected)


def test_the_template_is_that_of_the_training_faces() -> None:
    about = metadata_of(DESCRIPTION, networks=2)
    picture = np.zeros((224, 224, 3), np.uint8)
    points = geometry.template(1.0)
    for x, y in points:
        cv2.circle(picture, (round(x), round(y)), 6, (255, 255, 255), -1)
    small = resize(picture, SIDE).astype(int).sum(axis=2)
    for x, y in about["template"]:
        assert small[round(y), round(x)] > 300


@pytest.mark.slow
def test_an_exported_model_runs_where_nothing_of_this_project_is(
    model: Path, tmp_path: Path, demo: Path, truth: Truth
) -> None:
    out = tmp_path / "exported"
    options = ["--model", str(model), "--out", str(out), "--formats", "onnx,pt2,torchscript"]
    done = CliRunner().invoke(app, ["export", *options])
    assert done.exit_code == 0, done.output
    names = {"model.onnx", "model.pt2", "model.torchscript.pt", "model.json", "MODEL_CARD.md", "predict.py"}
    assert {path.name for path in out.iterdir()} == names
    assert json.loads((out / "model.json").read_text())["image_size"] == SIDE
    noise = np.random.default_rng(1).integers(0, 256, (3, 3, SIDE, SIDE)).astype(np.float32)
    other = Exported(checkpoint.load_networks(model, "last")[0].networks).eval()
    assert largest_difference(other, "onnx", out / "model.onnx", noise) <= 1e-5
    other.std *= 1.5
    with pytest.raises(UserError, match=r"model\.onnx differs from PyTorch"):
        largest_difference(other, "onnx", out / "model.onnx", noise)
    card = (out / "MODEL_CARD.md").read_text()
    assert "Not evaluated" in card and "{{" not in card and "rendered" in card

    points = truth["demo-001", 10, ""]
    ((_, picture),) = ((i, p) for i, p in read_frames(demo / "raw/videos/batch1/demo-001.mp4", {10}) if p is not None)
    cv2.imwrite(str(tmp_path / "frame.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    size = FrameSize(width=picture.shape[1], height=picture.shape[0])
    face = images.decode_jpeg(crop_face(picture, points, size, template_scale=1.0, quality=95).jpeg)
    python = clean_environment(tmp_path / "clean")
    given = " ".join(str(value) for value in points.reshape(-1))
    command = [python, out / "predict.py", "--points", given, tmp_path / "frame.png"]
    ran = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    (row,) = csv.DictReader(io.StringIO(ran.stdout))
    networks, _ = checkpoint.load_networks(model, "last")
    with torch.inference_mode():
        shown = torch.from_numpy(resize(face, SIDE).transpose(2, 0, 1)[None].astype(np.float32))
        expected = Exported(networks.networks).eval()(shown)[0].tolist()
    found = [float(row[name]) for name in DESCRIPTION["classes"]]  # type: ignore[union-attr]
    np.testing.assert_allclose(found, expected, atol=0.02)  # cut at the network's size, not at 224 and then shrunk


@pytest.mark.parametrize(
    ("content", "told"), [(None, "absent.json not found"), ("[]", "is not the evaluation of"), ("{}", "is not the")]
)
def test_an_evaluation_that_is_named_must_be_that_of_the_weights(
    model: Path, tmp_path: Path, content: str | None, told: str
) -> None:
    path = tmp_path / "absent.json"
    if content is not None:
        path.write_text(content)
    options = ["--model", str(model), "--out", str(tmp_path / "out"), "--formats", "pt2", "--evaluation", str(path)]
    done = CliRunner().invoke(app, ["export", *options])
    assert isinstance(done.exception, UserError) and told in str(done.exception)
    assert not (tmp_path / "out").exists()


def clean_environment(folder: Path) -> Path:
    """A new virtual environment with onnxruntime, numpy and OpenCV only."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    pinned = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "opencv-python-headless")]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "bin/python", *pinned], check=True)
    return folder / "bin/python"
