"""The report on small made-up results: complete, offline, escaped, and true to its inputs."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.contract import Drop, UserError
from tests.report_parts import CLASSES, HOSTILE_VIDEO, PARAMS, RUN, Page, jpeg, scores, write_results
from train.report import ReportInputs, build_report, load_inputs
from train.report.pictures import SIDE, confident_mistakes, contact_sheet
from train.report.reasons import BY_CHOICE, REASONS

SECTIONS = ("dataset", "drops", "training", "result", "mistakes", "run")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return load_inputs(*write_results(tmp_path_factory.mktemp("tiny")), params=PARAMS, run=RUN)


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return build_report(inputs)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_page_is_whole_and_offline(html: str, page: Page) -> None:
    assert page.open == []
    assert set(SECTIONS) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "@import" not in html and "url(" not in html and "<script" not in html.lower()
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_equal_inputs_give_equal_text(inputs: ReportInputs, html: str) -> None:
    assert build_report(inputs) == html


def test_names_are_escaped(page: Page) -> None:
    assert page.handlers == []
    assert "script" not in page.tags
    assert page.tags.count("b") == 0
    for name in (*CLASSES, HOSTILE_VIDEO, "<b>dark</b>"):
        assert name in page.text


@pytest.mark.parametrize(
    "shown",
    [
        "Macro-F1 0.432 Macro-F1 0.432, interval 0.201 to 0.602 0.201 to 0.602",
        "Accuracy 0.532, interval 0.301 to 0.702 0.301 to 0.702",
        "Score 0.465, interval 0.241 to 0.642 0.241 to 0.642",
        "Faces 14 Videos 5 Classes 4 Networks 2 Measured on 6 faces of 2 videos (val)",
        "95 % intervals: whole videos drawn again 100 times",
        "commonest class would reach an accuracy of 0.500",
        "train 8 3 5.00 0.649",
        "Last epoch (2)",
        "Network 2 0.322 0.422 0.355 0.272",
        "Networks, mean 0.317 0.417 0.350 –",
        "Best epoch on validation (1)",
        "Ensemble 0.568 0.668 0.601 0.518",
        "CCT 0.404 0.638 0.481",
        "the figures are not comparable",
        "Calibration error (ECE, 15 bins): 0.136",
        "1,305 annotated frames are not among the 14 faces: 66 were left out on purpose, 1,239 could not",
        "b train 97 99 −2 0 trimmed",
        "1 of 2 trials",
        "3 epochs (counted from 0) in 3 min 0 s",
        "NA 3 0.123 0.234",
        "faces_per_class 3",
        "init null",
        "torch 2.14.1",
        str(RUN["manifest_sha256"]),
    ],
)
def test_numbers_are_those_of_the_inputs(page: Page, shown: str) -> None:
    assert shown in page.text


def test_aff_wild2_is_comparable_only_with_seven_classes(inputs: ReportInputs) -> None:
    own = dict(inputs.evaluation) | {"dataset": "affwild2"}
    assert "The paper has seven classes, this run 4" in build_report(dataclasses.replace(inputs, evaluation=own))


def test_a_mix_has_its_scores_by_set_and_a_set_alone_has_none(inputs: ReportInputs, page: Page) -> None:
    matrix = [[3, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 4]]
    block = {"split": "val", "samples": 12, "f1": 0.711, "accuracy": 0.833, "score": 0.751, "confusion": matrix}
    sources = [block | {"dataset": "demo"}, block | {"dataset": "rafdb", "f1": 0.611}]
    evaluated = dict(inputs.evaluation) | {"sources": sources}
    mixed = Page(build_report(dataclasses.replace(inputs, evaluation=evaluated)))
    assert mixed.open == []
    assert "rafdb 12 0.611 0.833 0.751" in mixed.text
    assert "sources" in mixed.ids and "sources" not in page.ids


def test_what_became_of_wrong_labels_and_of_a_student_is_drawn(inputs: ReportInputs) -> None:
    memorised = inputs.training.assign(flipped_fit=[0.1, 0.2, 0.3], flipped_true=0.5, val_f1_student=[0.1, 0.2, 0.3])
    evaluated = dict(inputs.evaluation) | {"student": scores(0.4)}
    text = Page(build_report(dataclasses.replace(inputs, training=memorised, evaluation=evaluated))).text
    for shown in ("What the ensemble predicts where the label is wrong", "The true label", "Student"):
        assert shown in text
        assert shown not in Page(build_report(inputs)).text


def test_ce_without_extras(inputs: ReportInputs) -> None:
    """One network, no λ, no interval, nothing dropped or disagreeing, no mistake, no pictures."""
    single = inputs.training[["epoch", "loss", "val_f1", "val_accuracy"]].head(1)
    plain = dict(inputs.evaluation) | {"networks": [scores(0.4)], "interval": None, "calibration_error": None}
    html = build_report(
        dataclasses.replace(
            inputs,
            training=single,
            evaluation=plain,
            drops=inputs.drops.head(0),
            trials=inputs.trials.head(1).drop(columns=["decoded_frames", "action"]).assign(declared_frames=50),
            predictions=inputs.predictions.head(1),
            pictures={},
        )
    )
    page = Page(html)
    assert page.open == [] and page.pictures == 0
    assert "every annotated frame became a sample" in page.text
    assert "as many annotation lines as frames" in page.text
    assert "every prediction agrees with its label" in page.text
    assert "1 network (resnet18), 1 epoch," in page.text
    assert "Weight of the consistency loss" not in page.text


def test_noise_is_announced(inputs: ReportInputs) -> None:
    noisy = PARAMS | {"noise_kind": "symmetric", "noise_rate": 0.4}
    assert "symmetric noise, 40 %, drawn by segment" in build_report(dataclasses.replace(inputs, params=noisy))
    listed = PARAMS | {"noise_kind": "listed", "index": {"noise_list": "EmoLabel/noise01.txt"}}
    assert "noise list, EmoLabel/noise01.txt." in build_report(dataclasses.replace(inputs, params=listed))


def test_every_reason_is_explained() -> None:
    assert set(REASONS) == set(Drop)
    assert set(BY_CHOICE) < set(Drop)


def test_contact_sheet_spreads_over_videos(inputs: ReportInputs) -> None:
    sheet = contact_sheet(inputs.samples, len(CLASSES), 3)
    assert [face.video for face in sheet[0]] == ["a", "b", "c"]
    assert [len(row) for row in sheet] == [3, 2, 1, 0]
    train = set(inputs.samples.loc[inputs.samples["split"] == "train", "key"])
    assert {face.key for row in sheet for face in row} <= train


def test_mistakes_are_the_surest_and_of_different_kinds(inputs: ReportInputs) -> None:
    found = confident_mistakes(inputs.predictions, inputs.samples, most=3)
    assert [mistake.confidence for mistake in found] == [0.95, 0.91, 0.82]
    assert found[0].face.frame_index == 35
    doubled = pd.concat([inputs.predictions, inputs.predictions.tail(1).assign(key=inputs.predictions["key"].iloc[0])])
    assert len(confident_mistakes(doubled, inputs.samples)) == 5


def test_pictures_are_small_and_of_the_right_samples(inputs: ReportInputs, page: Page) -> None:
    shown = {face.key for row in contact_sheet(inputs.samples, len(CLASSES), 3) for face in row}
    shown |= {mistake.face.key for mistake in confident_mistakes(inputs.predictions, inputs.samples)}
    shown |= {face.key for faces in inputs.kept.values() for face in faces}
    assert set(inputs.pictures) == shown
    assert all(Image.open(io.BytesIO(content)).size == (SIDE, SIDE) for content in inputs.pictures.values())
    first = np.asarray(Image.open(io.BytesIO(inputs.pictures["a_000000"])).resize((4, 4)), float)
    original = np.asarray(Image.open(io.BytesIO(jpeg(0))).resize((4, 4)), float)
    assert abs(first - original).mean() < 12
    assert page.pictures == len(shown) + 1  # one of the mistakes is also kept of a trial that lost frames


@pytest.mark.parametrize("name", ["evaluation.json", "training.csv", "predictions.parquet"])
def test_missing_results_are_named(tmp_path: Path, name: str) -> None:
    folders = write_results(tmp_path)
    (folders[1] / name).unlink()
    with pytest.raises(UserError, match=name):
        load_inputs(*folders, params=PARAMS, run=RUN)


@pytest.mark.parametrize("content", ["", "epoch,loss\n0,1\n", "epoch,loss,val_f1,val_accuracy\n0,x,0,0\n"])
def test_damaged_training_is_named(tmp_path: Path, content: str) -> None:
    folders = write_results(tmp_path)
    (folders[1] / "training.csv").write_text(content)
    with pytest.raises(UserError, match=r"training\.csv is damaged"):
        load_inputs(*folders, params=PARAMS, run=RUN)
