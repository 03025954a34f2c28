"""The report's sections one by one: what they show is what independent readings of the same inputs say."""

import dataclasses
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from pipeline.contract import FRAME_COLUMNS, LANDMARK_COLUMNS, Drop, Paths, UserError
from pipeline.shards.reading import ShardReader
from pipeline.tables import write_table
from tests.report_parts import CLASSES, PARAMS, RUN, Page, jpeg, record_of, write_results
from tests.shard_sets import write_shard_set
from train.metrics import expected_calibration_error
from train.report import ReportInputs, build_report, load_inputs
from train.report.confidence import class_rows, reliability
from train.report.dataset import dataset_section
from train.report.examples import lost_frames
from train.report.quality import MEASURES, read_quality
from train.report.revision import revision


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return load_inputs(*write_results(tmp_path_factory.mktemp("tiny")), params=PARAMS, run=RUN)


def test_quality_is_that_of_each_sample(inputs: ReportInputs) -> None:
    assert inputs.quality["split"].tolist() == ["train"] * 8 + ["val"] * 6
    for position, row in enumerate(inputs.quality.head(8).to_dict("records")):
        told = record_of(position)
        assert row["side"] == 40 + position and row["sharpness"] == told["quality"]["sharpness"]
        assert np.isnan(row["yaw"]) if told["pose"] is None else row["yaw"] == position
    assert list(inputs.quality)[2:] == list(MEASURES)


def test_quality_is_drawn_from_a_long_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shard_set(tmp_path, {"train": 40, "val": 3})
    monkeypatch.setattr("train.report.quality.MOST", 10)
    counts = read_quality(folder)["split"].value_counts()
    assert counts.to_dict() == {"train": 10, "val": 3}


def test_a_record_is_what_tarfile_reads(whole: Path) -> None:
    reader = ShardReader(whole, "train")
    for position in range(len(reader)):
        with tarfile.open(whole / str(reader.samples["shard"].iloc[position])) as archive:
            content = archive.extractfile(f"{reader.key(position)}.json")
            assert content is not None
            assert reader.record(position) == pd.read_json(content, typ="series").to_dict()


def test_a_record_that_is_not_there_is_named(folder: Path) -> None:
    path = folder / "train-000000.tar"
    path.write_bytes(path.read_bytes().replace(b".json", b".nojs"))
    with pytest.raises(UserError, match=r"train-000000\.tar: sample .*json is not behind its picture"):
        ShardReader(folder, "train").record(0)


def test_measures_that_nobody_knows_are_left_out(inputs: ReportInputs) -> None:
    unknown = inputs.quality.assign(yaw=np.nan, pitch=np.nan, roll=np.nan, probability=np.nan)
    text = Page(build_report(dataclasses.replace(inputs, quality=unknown))).text
    assert "Sharpness" in text and "Tilted" not in text and "Detector's probability" not in text


def test_reliability_adds_up_to_the_calibration_error() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(5), 400)
    labels = generator.integers(0, 5, 400)
    predictions = pd.DataFrame(
        {"label": labels, "prediction": probabilities.argmax(1), "confidence": probabilities.max(1)}
    )
    bins = reliability(predictions, bins=15)
    error = sum(each.samples * abs(each.accuracy - each.confidence) for each in bins) / 400
    assert error == pytest.approx(expected_calibration_error(probabilities, labels, bins=15))
    assert sum(each.samples for each in bins) == 400


def test_classes_in_numbers_are_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    actual, predicted = generator.integers(0, 4, (2, 200))
    predicted[predicted == 2] = 0
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (actual, predicted), 1)
    precision, recall, f1, _ = precision_recall_fscore_support(actual, predicted, labels=range(4), zero_division=0)
    scores = {"f1_per_class": dict(zip(CLASSES, f1, strict=True))}
    rows = class_rows({"classes": CLASSES, "confusion": matrix.tolist(), "ensemble": scores})
    assert [row["precision"] or 0 for row in rows] == pytest.approx(precision.tolist())
    assert [row["recall"] for row in rows] == pytest.approx(recall.tolist())
    assert rows[2]["precision"] is None and rows[2]["predicted"] == 0


def test_agreement_and_the_papers_curves_are_drawn(inputs: ReportInputs) -> None:
    agreed = inputs.training.assign(agree_1=[0.2, 0.1, 0.0], agree_2=[0.8, 0.9, 1.0])
    page = build_report(dataclasses.replace(inputs, training=agreed))
    assert "2 of 2 agree, epoch 0: 80.0%" in page and "none agree, epoch 0: 20.0%" in page
    for beta in ("0.1", "0.65", "1", "1.5", "2", "3", "4", "5"):
        assert f"<title>{beta}</title>" in page
    other = build_report(dataclasses.replace(inputs, params=PARAMS | {"method": "jocor"}))
    assert "Figure 3" not in other and "Figure 3" in page


def test_videos_are_shown_with_their_scores_and_classes(inputs: ReportInputs) -> None:
    page = Page(build_report(inputs))
    assert "NA, Accuracy: 0.12 of 3" in page.text and "the hardest video first" in page.text
    counted = inputs.samples.groupby(["split", "video", "label"]).size()
    section = dataset_section(inputs)
    rows = {(row["split"], row["video"]): row["faces"] for row in section["by_video"]}
    assert {key: sum(faces) for key, faces in rows.items()} == counted.groupby(level=[0, 1]).sum().to_dict()
    assert all(rows[split, video][label] == faces for (split, video, label), faces in counted.items())
    for split, videos in section["occurrence"].items():
        told = inputs.samples[inputs.samples["split"] == split].groupby("label")["video"].nunique()
        assert videos == told.reindex(range(len(videos)), fill_value=0).tolist()
    many = [{"video": f"v{n:02}", "samples": 9, "accuracy": n / 100, "f1": 0.5} for n in range(60)]
    shown = build_report(dataclasses.replace(inputs, evaluation=dict(inputs.evaluation) | {"per_video": many}))
    assert "hardest 24 of 60 videos" in shown and "v23, Accuracy" in shown and "v24, Accuracy" not in shown


def test_stills_are_called_pictures(inputs: ReportInputs) -> None:
    stills = PARAMS | {"index": {"layout": "rafdb", "noise_list": None}}
    evaluated = dict(inputs.evaluation) | {"per_video": []}
    evaluated["interval"] = evaluated["interval"] | {"unit": "picture"}
    text = Page(build_report(dataclasses.replace(inputs, params=stills, evaluation=evaluated))).text
    assert "annotated pictures are not among" in text and "whole pictures drawn again" in text
    assert "Measured on 6 faces (val)" in text
    for word in ("Videos", "of 5 videos", "as many videos", "Counts that disagree"):
        assert word not in text


def test_lost_frames_are_those_without_a_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths(dataset="tiny")
    drops = pd.DataFrame(
        [("align", "t", Drop.NO_FACE, 2), ("align", "mixed", Drop.NO_FACE, 9), ("align", "mixed", "x", 1)],
        columns=["stage", "trial", "reason", "frames"],
    ).astype({"reason": str})
    assert lost_frames(paths, drops) == {}
    labelled = [
        {"trial": "t", "video": "v w", "subject": "", "split": "train", "frame_index": n, "label": 0} for n in range(4)
    ]
    write_table(paths.index, labelled, FRAME_COLUMNS)
    kinds = {"string": "", "int64": 0, "double": 0.0, "bool": False}
    blank = {name: kinds[kind] for name, kind in LANDMARK_COLUMNS.items()}
    write_table(paths.landmarks, [blank | {"trial": "t", "frame_index": n} for n in (0, 3)], LANDMARK_COLUMNS)
    paths.frames.mkdir(parents=True)
    (tmp_path / "000002.jpg").write_bytes(jpeg(2))
    with tarfile.open(paths.frames / "v%20w.tar", "w") as archive:
        archive.add("000002.jpg")
    found = lost_frames(paths, drops)
    assert [(frame.trial, frame.frame_index) for frame in found[str(Drop.NO_FACE)]] == [("t", 2)]
    (paths.frames / "v%20w.tar").write_bytes(b"cut short")
    assert lost_frames(paths, drops) == {}


def test_the_revision_names_what_is_not_committed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert revision(tmp_path) is None
    git("init", "--quiet")
    assert revision(tmp_path) is None
    for name in ("dvc.lock", "a b.py"):
        (tmp_path / name).write_text("1")
    git("add", "--all")
    git("commit", "--quiet", "--message", "m")
    assert revision(tmp_path) == (git("rev-parse", "HEAD").strip(), ())
    for name in ("dvc.lock", "a b.py"):
        (tmp_path / name).write_text("2")
    found = revision(tmp_path)
    assert found is not None and found.changed == ("a b.py",)


def test_a_large_set_stays_a_small_page(inputs: ReportInputs) -> None:
    """539 videos with a long name, each left out in three ways and with disagreeing counts."""
    names = [f"a video with a long name {number:04d}" for number in range(539)]
    drops = pd.concat([inputs.drops.head(1).assign(trial=name, frames=7) for name in names] * 3)
    trials = pd.concat([inputs.trials.tail(1).assign(trial=name) for name in names])
    per_video = [{"video": name, "samples": 9, "accuracy": 0.5, "f1": 0.5} for name in names]
    page = build_report(
        dataclasses.replace(
            inputs, drops=drops, trials=trials, evaluation=dict(inputs.evaluation) | {"per_video": per_video}
        )
    )
    assert len(page) < 2_000_000
    assert "1,117 more in drops.csv" in Page(page).text and "39 more in trials.csv" in Page(page).text
