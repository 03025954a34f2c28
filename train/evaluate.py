"""Trained networks on a split: dataset-level scores of each and of the ensemble, with intervals over videos."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train import metrics
from train.loop import Probabilities

ORIGINAL_BATCH = 128
"""Batches over which the published code averages F1."""

_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Softmax of every network, K x N x C, for the N samples of a sample table; N x C of a student, if there is one."""

    samples: pd.DataFrame
    probabilities_knc: Probabilities
    student_nc: Probabilities | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """The given classes, N."""
        return self.samples["label"].to_numpy(np.int64)

    @property
    def ensemble_nc(self) -> Probabilities:
        """Mean of the networks' softmax, N x C."""
        ensemble_nc: Probabilities = self.probabilities_knc.mean(0)
        return ensemble_nc


def scored(predictions: Predictions, classes: list[str]) -> dict[str, Any]:
    """Scores of the ensemble, of each network and of a student (see `metrics.Scores`); on how many 1, …, K agree."""
    each = [_block(predictions, probabilities_nc, classes) for probabilities_nc in predictions.probabilities_knc]
    student = predictions.student_nc
    mean = {name: float(np.mean([block[name] for block in each])) for name in ("f1", "accuracy", "score")}
    return {
        "ensemble": _block(predictions, predictions.ensemble_nc, classes),
        "networks": each,
        "networks_mean": mean,
        "agreement": list(metrics.agreement(predictions.probabilities_knc.argmax(-1))),
    } | ({} if student is None else {"student": _block(predictions, student, classes)})


def evaluation(
    last: Predictions,
    best: Predictions,
    description: dict[str, Any],
    *,
    resamples: int,
    unit: Literal["video", "picture"] = "video",
) -> dict[str, Any]:
    """The content of `results/evaluation.json`: the last epoch is the headline, the best one is reported as such.

    Args:
        last: predictions of the last epoch's networks.
        best: of the best epoch's.
        description: of the model.
        resamples: how often the bootstrap draws.
        unit: what it draws: whole videos, whose frames are not independent, or pictures that stand alone.
    """
    classes = description["classes"]
    predicted = last.ensemble_nc.argmax(-1)
    videos = last.samples["video" if unit == "video" else "key"].to_numpy()
    intervals = metrics.bootstrap_interval(
        last.labels,
        predicted,
        videos,
        classes=len(classes),
        resamples=resamples,
        level=_LEVEL,
        seed=description["seed"],
    )
    return scored(last, classes) | {
        "dataset": description["dataset"],
        "split": str(last.samples["split"].iloc[0]),
        "classes": classes,
        "samples": len(last.labels),
        "videos": len(np.unique(videos)),
        "epoch": description["epochs"] - 1,
        "interval": {"level": _LEVEL, "unit": unit, "resamples": resamples}
        | {name: list(getattr(intervals, name)) for name in ("f1", "accuracy", "score")},
        "best": {"epoch": description["best_epoch"]} | scored(best, classes),
        "confusion": metrics.confusion(last.labels, predicted, len(classes)).tolist(),
        "calibration_error": metrics.expected_calibration_error(last.ensemble_nc, last.labels),
        "per_video": _per_video(last, predicted, len(classes)) if unit == "video" else [],
    }


def headline(evaluated: dict[str, Any]) -> dict[str, float]:
    """The few figures that `dvc exp show` lists: `results/metrics.json`."""
    low, high = evaluated["interval"]["f1"]
    student = {"student_f1": evaluated["student"]["f1"]} if "student" in evaluated else {}
    return {
        "f1": evaluated["ensemble"]["f1"],
        "f1_low": low,
        "f1_high": high,
        "accuracy": evaluated["ensemble"]["accuracy"],
        "score": evaluated["ensemble"]["score"],
        "networks_mean_f1": evaluated["networks_mean"]["f1"],
        "best_epoch_f1": evaluated["best"]["ensemble"]["f1"],
    } | student


def prediction_rows(predictions: Predictions) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a sample with every probability, and the columns: `p0`… of the ensemble, `n1_p0`… of network 1.

    A student's are `s_p0`….
    """
    ensemble_nc = predictions.ensemble_nc
    rows = predictions.samples[["key", "trial", "video", "frame_index", "label"]].copy()
    rows["prediction"] = ensemble_nc.argmax(-1)
    rows["confidence"] = ensemble_nc.max(-1)
    named = {"p": ensemble_nc} | {f"n{k}_p": each for k, each in enumerate(predictions.probabilities_knc, start=1)}
    if predictions.student_nc is not None:
        named["s_p"] = predictions.student_nc
    for prefix, probabilities_nc in named.items():
        for label, column in enumerate(probabilities_nc.T):
            rows[f"{prefix}{label}"] = column
    kinds = {"key": "string", "trial": "string", "video": "string"} | dict.fromkeys(
        ("frame_index", "label", "prediction"), "int64"
    )
    return rows, {str(column): kinds.get(str(column), "float") for column in rows.columns}


def confusion_rows(evaluated: dict[str, Any], predictions: Predictions) -> pd.DataFrame:
    """One row a sample with the names of its actual and predicted class, as DVC's confusion plot wants them."""
    names = np.array(evaluated["classes"], dtype=object)
    predicted = predictions.ensemble_nc.argmax(-1)
    return pd.DataFrame({"actual": names[predictions.labels], "predicted": names[predicted]})


def _block(predictions: Predictions, probabilities_nc: Probabilities, classes: list[str]) -> dict[str, Any]:
    predicted = probabilities_nc.argmax(-1)
    found = metrics.scores(metrics.confusion(predictions.labels, predicted, len(classes)))
    return {
        "f1": found.f1,
        "accuracy": found.accuracy,
        "score": found.score,
        "f1_per_class": dict(zip(classes, found.f1_per_class, strict=True)),
        "f1_batch_averaged": metrics.batch_averaged_f1(predictions.labels, predicted, batch=ORIGINAL_BATCH),
    }


def _per_video(predictions: Predictions, predicted: NDArray[np.int64], classes: int) -> list[dict[str, Any]]:
    rows = []
    for video, places in predictions.samples.groupby("video", sort=True).indices.items():
        found = metrics.scores(metrics.confusion(predictions.labels[places], predicted[places], classes))
        rows.append({"video": video, "samples": len(places), "accuracy": found.accuracy, "f1": found.f1})
    return rows
