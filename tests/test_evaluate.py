"""What is said of predictions: scores, tables, the page beside the paper."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from train.by_source import source_block, source_lines
from train.evaluate import Predictions, confusion_rows, evaluation, headline, prediction_rows
from train.scoreboard import beside_paper

CLASSES = ["Neutral", "Anger", "Disgust", "Fear"]
DESCRIPTION = {"classes": CLASSES, "dataset": "demo", "seed": 0, "epochs": 5, "best_epoch": 3}


def predictions(seed: int, samples: int = 60) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = np.arange(samples) % 4
    logits = generator.normal(size=(3, samples, 4)) + 2 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    table = pd.DataFrame(
        {
            "key": [f"v{index}" for index in range(samples)],
            "split": "val",
            "trial": [f"video{index // 10}" for index in range(samples)],
            "video": [f"video{index // 10}" for index in range(samples)],
            "frame_index": range(samples),
            "label": labels,
        }
    )
    return Predictions(samples=table, probabilities_knc=probabilities.astype(np.float32))


@pytest.fixture(scope="module")
def evaluated() -> dict[str, object]:
    return evaluation(predictions(0), predictions(1), DESCRIPTION, resamples=200)


def test_scores_equal_scikit_learns(evaluated: dict) -> None:
    found = predictions(0)
    predicted = found.probabilities_knc.mean(0).argmax(-1)
    f1, accuracy = f1_score(found.labels, predicted, average="macro"), accuracy_score(found.labels, predicted)
    assert evaluated["ensemble"]["f1"] == pytest.approx(f1)
    assert evaluated["ensemble"]["accuracy"] == pytest.approx(accuracy)
    assert evaluated["ensemble"]["score"] == pytest.approx(0.67 * f1 + 0.33 * accuracy)
    assert evaluated["confusion"] == confusion_matrix(found.labels, predicted).tolist()
    for block, probabilities in zip(evaluated["networks"], found.probabilities_knc, strict=True):
        assert block["f1"] == pytest.approx(f1_score(found.labels, probabilities.argmax(-1), average="macro"))
    assert evaluated["networks_mean"]["f1"] == pytest.approx(np.mean([b["f1"] for b in evaluated["networks"]]))


def test_scores_of_a_set_of_a_mix_equal_scikit_learns() -> None:
    found = predictions(2)
    predicted = found.probabilities_knc.mean(0).argmax(-1)
    block = source_block(found, "rafdb", CLASSES)
    assert block["f1"] == pytest.approx(f1_score(found.labels, predicted, average="macro"))
    assert block["accuracy"] == pytest.approx(accuracy_score(found.labels, predicted))
    assert block["confusion"] == confusion_matrix(found.labels, predicted).tolist()
    assert f"| rafdb, split val | 60 | {block['f1']:.4f} | {block['accuracy']:.4f} |" in source_lines([block])
    assert source_lines([]) == ""


def test_agreement_counts_samples_on_which_so_many_networks_agree(evaluated: dict) -> None:
    opinions = predictions(0).probabilities_knc.argmax(-1).T
    largest = [max(list(row).count(opinion) for opinion in row) for row in opinions]
    expected = [np.mean([size == k for size in largest]) for k in (1, 2, 3)]
    assert evaluated["agreement"] == pytest.approx(expected)


def test_the_headline_is_the_last_epoch_within_its_interval(evaluated: dict) -> None:
    shown = headline(evaluated)
    assert shown["f1"] == evaluated["ensemble"]["f1"]
    assert shown["f1_low"] <= shown["f1"] <= shown["f1_high"]
    assert evaluated["epoch"] == 4
    assert evaluated["best"]["epoch"] == 3
    json.dumps(evaluated, allow_nan=False)


def test_videos_add_up_to_the_whole(evaluated: dict) -> None:
    assert evaluated["videos"] == len(evaluated["per_video"]) == 6
    right = sum(video["accuracy"] * video["samples"] for video in evaluated["per_video"])
    assert right / evaluated["samples"] == pytest.approx(evaluated["ensemble"]["accuracy"])


def test_the_prediction_table_holds_every_probability() -> None:
    found = predictions(0)
    rows, columns = prediction_rows(found)
    assert list(rows.columns) == list(columns)
    assert np.allclose(rows[[f"p{c}" for c in range(4)]], found.probabilities_knc.mean(0))
    assert np.allclose(rows[[f"n2_p{c}" for c in range(4)]], found.probabilities_knc[1])
    assert (rows["confidence"] == rows[[f"p{c}" for c in range(4)]].max(axis=1)).all()


def test_confusion_rows_name_classes(evaluated: dict) -> None:
    rows = confusion_rows(evaluated, predictions(0))
    counted = pd.crosstab(rows["actual"], rows["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    assert counted.to_numpy().tolist() == evaluated["confusion"]


def test_the_scoreboard_stands_beside_the_paper(evaluated: dict) -> None:
    text = beside_paper(evaluated)
    assert "| CCT | 0.4040 | 0.6378 | 0.4814 |" in text
    assert "| Netease Fuxi Virtual Human | 0.7630 |" in text
    assert f"| **ensemble, last epoch** | {evaluated['ensemble']['f1']:.4f} |" in text
    assert "the dataset demo, the paper Aff-Wild2: the figures are not comparable" in text
    for name in ("affwild2", "affwild2-cropped"):
        assert "not comparable" not in beside_paper({**evaluated, "dataset": name, "classes": list("abcdefg")})
    assert "The paper has seven classes, this run 4" in beside_paper({**evaluated, "dataset": "affwild2"})
