"""Predictions for people in real clips, against the networks shown the same faces; folders, streams, pages."""

import io
import re
from collections.abc import Iterator, Set
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from pipeline import images
from pipeline.contract import CLASSES, UserError
from pipeline.images import Image
from pipeline.params import Params
from pipeline.people import people_in
from pipeline.sources import Pictures, Video, sources, spooled
from pipeline.video import read_frames
from tests.conftest import Truth
from train import checkpoint
from train.augment import resize
from train.cli import app
from train.compute import MEAN, STD
from train.networks import Networks
from train.predict import Predictor, predict_people, smoothed
from train.timeline import runs

SEVEN = list(CLASSES[:7])
CLIPS = "raw/videos/batch1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    described = {"backbone": "resnet18", "networks": 2, "student": False, "classes": SEVEN, "seed": 3}
    described |= {"input": {"width": 48, "height": 48}}
    networks = Networks("resnet18", networks=2, classes=7, seed=3)
    checkpoint.publish(
        folder, {"last": checkpoint.weights_of(networks)}, described | {"input": {"width": 48, "height": 48}}
    )
    return folder


def test_probabilities_are_those_of_the_networks_whatever_the_batches(model: Path) -> None:
    predictor = Predictor.load(model, device="cpu")
    faces = [np.random.default_rng(number).integers(0, 256, (224, 224, 3), dtype=np.uint8) for number in range(35)]
    found_knc = predictor.probabilities(iter(faces))
    assert found_knc.shape == (2, 35, 7)
    for number in (0, 31, 34):
        pixels = torch.from_numpy(resize(faces[number], 48)).permute(2, 0, 1)[None].float() / 255
        shown = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        with torch.inference_mode():
            expected = torch.stack([network(shown) for network in predictor.networks.networks]).softmax(-1)
        np.testing.assert_allclose(found_knc[:, number], expected[:, 0].numpy(), atol=1e-5)


def test_no_face_gives_an_empty_result(model: Path) -> None:
    assert Predictor.load(model, device="cpu").probabilities([]).shape == (2, 0, 7)


def test_smoothing_is_a_mean_over_time_that_passes_gaps_over() -> None:
    steady = np.tile([0.25, 0.75], (4, 1))
    np.testing.assert_allclose(smoothed(np.array([3, 4, 9, 30]), steady, deviation=2.0), steady)
    flicker = np.eye(2)[[0, 1, 0, 1, 0, 1]]
    calm = smoothed(np.arange(6), flicker, deviation=3.0)
    np.testing.assert_allclose(calm.sum(axis=1), 1)
    assert np.abs(calm - 0.5).max() < 0.2
    weights = np.exp(-0.5 * (np.array([0, 5]) / 2.0) ** 2)
    expected = weights @ np.eye(2) / weights.sum()
    np.testing.assert_allclose(smoothed(np.array([7, 12]), np.eye(2), deviation=2.0)[0], expected, atol=1e-9)


class Beginning(Video):
    """The first frames of a video."""

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        return islice(super().frames(wanted), 12)


def test_two_people_are_told_apart_and_sided(model: Path, demo: Path, params: Params, truth: Truth) -> None:
    clip = Beginning(demo / CLIPS / "demo-012.mp4")
    predictor = Predictor.load(model, device="cpu")
    with people_in(clip, params.align) as people:
        done = predict_people(people, predictor)
        first = done.table.iloc[0]
        track = next(track for track in people.tracks if track.number == first["track"])
        face = images.decode_jpeg(people.face(0, track.faces[0]).jpeg)
    assert done.people == 2 and done.frames_with_main == done.frames
    middles = done.table.assign(x=(done.table["x0"] + done.table["x1"]) / 2).groupby("subject")["x"].median()
    assert middles["left"] < middles["right"] and set(middles.index) == {"left", "right"}
    np.testing.assert_allclose(done.table[SEVEN].sum(axis=1), 1, atol=1e-6)
    expected = predictor.probabilities([face]).mean(axis=0)[0]
    np.testing.assert_allclose(first[SEVEN].to_numpy(float), expected, atol=1e-5)
    assert first["prediction"] == SEVEN[int(expected.argmax())]


def test_runs_end_where_the_class_or_the_face_does() -> None:
    rows = pd.DataFrame({"frame_index": [0, 1, 2, 5, 6], "prediction": ["Fear", "Fear", "Anger", "Anger", "Anger"]})
    assert runs(rows, SEVEN) == [(0, 1, 3), (2, 2, 1), (5, 6, 1)]


def test_pictures_come_in_the_order_that_people_count(tmp_path: Path, demo: Path) -> None:
    jpegs = []
    for index, picture in read_frames(demo / CLIPS / "demo-001.mp4", {0, 1, 2}):
        if picture is not None:
            jpegs.append(images.encode_jpeg(picture, 95))
            (tmp_path / f"frame{9 + index}.jpg").write_bytes(jpegs[-1])
    (folder,) = sources(tmp_path)
    assert isinstance(folder, Pictures) and [path.name for path in folder.paths] == [
        "frame9.jpg",
        "frame10.jpg",
        "frame11.jpg",
    ]
    (tmp_path / "spool").mkdir()
    stream = spooled(io.BytesIO(b"noise" + b"".join(jpegs)), tmp_path / "spool")
    for (_, one), (_, other) in zip(folder.frames(), stream.frames(), strict=True):
        assert one is not None and other is not None and (one == other).all()


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.jpg: not a JPEG or PNG or"):
        list(sources(tmp_path / "a.jpg")[0].frames())
    with pytest.raises(UserError, match="holds no JPEG"):
        spooled(io.BytesIO(b"nothing"), tmp_path)
    (tmp_path / "b.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="both videos and pictures"):
        sources(tmp_path)


@pytest.mark.slow
def test_the_command_on_a_folder_leaves_a_table_a_video_and_names_the_bad_one(
    tmp_path: Path, demo: Path, model: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("demo-001", "demo-012"):
        (videos / f"{name}.mp4").symlink_to((demo / CLIPS / f"{name}.mp4").resolve())
    (videos / "broken.mp4").write_bytes(b"no video")
    out, drawn, pages = tmp_path / "out", tmp_path / "drawn", tmp_path / "pages"
    options = ["--model", str(model), "--out", str(out), "--overlay", str(drawn), "--timeline", str(pages)]
    done = CliRunner().invoke(app, ["predict", str(videos), *options])
    assert done.exit_code == 1 and "broken" in done.output, done.output
    listed = pd.read_csv(out / "videos.csv").set_index("video")
    assert listed["people"].to_dict() == {"demo-001": 1, "demo-012": 2}
    for name, row in listed.iterrows():
        table = pd.read_csv(out / f"{name}.csv")
        assert len(table) == row["faces"] and table["frame_index"].max() < row["frames"]
        capture = cv2.VideoCapture(str(drawn / f"{name}.webm"))
        shown = 0
        while capture.grab():
            shown += 1
        assert shown == row["frames"]
        page = (pages / f"{name}.html").read_text()
        assert f"<h1>{name}</h1>" in page and "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_nobody_in_the_picture_gives_an_empty_table(tmp_path: Path, model: Path) -> None:
    picture = tmp_path / "grey.png"
    cv2.imwrite(str(picture), np.full((240, 320, 3), 128, np.uint8))
    options = ["--model", str(model), "--out", str(tmp_path / "out.csv"), "--timeline", str(tmp_path / "out.html")]
    done = CliRunner().invoke(app, ["predict", str(picture), *options])
    assert done.exit_code == 0 and "0 people" in done.output, done.output
    assert len(pd.read_csv(tmp_path / "out.csv")) == 0


@pytest.mark.parametrize(
    ("what", "option", "path", "told"),
    [
        (f"{CLIPS}/demo-001.mp4", "--overlay", "clip.gif", "must end in .mp4"),
        (f"{CLIPS}/demo-001.mp4", "--timeline", "clip.csv", "must end in .html"),
        (CLIPS, "--overlay", "clip.mp4", "must be a folder"),
        (CLIPS, "--timeline", "clip.html", "must be a folder"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_anything_is_read(
    tmp_path: Path, demo: Path, what: str, option: str, path: str, told: str
) -> None:
    out = tmp_path / ("predicted" if what == CLIPS else "clip.csv")
    arguments = [str(demo / what), "--model", str(tmp_path / "none"), "--out", str(out), option, str(tmp_path / path)]
    done = CliRunner().invoke(app, ["predict", *arguments])
    assert isinstance(done.exception, UserError) and told in str(done.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("what", "options", "told"),
    [
        ("videos/a.mp4", {"--out": "a.csv", "--overlay": "videos/a.mp4"}, "would replace"),
        ("videos/a.mp4", {"--out": "videos/c.csv"}, "c.csv is a folder; name a file"),
        ("videos/a.mp4", {"--out": "a.csv", "--timeline": "notes.txt/a.html"}, "notes.txt is a file, not a folder"),
        ("videos", {"--out": "out", "--overlay": "notes.txt"}, "--overlay {}/notes.txt must be a folder"),
        ("videos", {"--out": "notes.txt/out"}, "notes.txt is a file, not a folder"),
        ("videos", {"--out": "out", "--overlay": "videos"}, "would replace"),
        ("twins", {"--out": "out"}, "twins/a.avi and {}/twins/a.wmv have the same name"),
    ],
)
def test_nothing_that_is_read_or_written_is_replaced(
    tmp_path: Path, demo: Path, what: str, options: dict[str, str], told: str
) -> None:
    clip = (demo / CLIPS / "demo-001.mp4").read_bytes()
    for name in ("videos/a.mp4", "videos/b.webm", "twins/a.avi", "twins/a.wmv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(clip)
    (tmp_path / "videos/c.csv").mkdir()
    (tmp_path / "notes.txt").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    arguments = [part for option, path in options.items() for part in (option, str(tmp_path / path))]
    done = CliRunner().invoke(app, ["predict", str(tmp_path / what), "--model", str(tmp_path / "none"), *arguments])
    assert isinstance(done.exception, UserError) and told.format(tmp_path) in str(done.exception)
    assert "\n" not in str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "videos/a.mp4").read_bytes() == clip and (tmp_path / "notes.txt").read_text() == "kept"


@pytest.mark.slow
def test_frames_that_do_not_decode_are_told(tmp_path: Path, demo: Path, model: Path) -> None:
    clip = next((demo / CLIPS).glob("*.avi"))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 3])
    done = CliRunner().invoke(app, ["predict", str(cut), "--model", str(model), "--out", str(tmp_path / "cut.csv")])
    assert done.exit_code == 0, done.output
    assert re.search(r"cut: \d+ of \d+ frames cannot be decoded", done.output)


@pytest.mark.parametrize("content", ['{"epochs": 0}', "[]"])
def test_a_model_folder_without_networks_is_named(tmp_path: Path, demo: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    clip, out = demo / CLIPS / "demo-001.mp4", tmp_path / "clip.csv"
    done = CliRunner().invoke(app, ["predict", str(clip), "--model", str(tmp_path), "--out", str(out)])
    assert isinstance(done.exception, UserError) and "model.json describes no networks" in str(done.exception)
