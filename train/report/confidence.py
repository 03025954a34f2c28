"""How far the ensemble's confidence can be believed, and each class in numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from train.charts import Bin, reliability_diagram

_BINS = 10


def calibration(predictions: pd.DataFrame) -> Markup:
    """The reliability diagram of predictions with `label`, `prediction` and `confidence`."""
    return reliability_diagram(reliability(predictions), title="Reliability diagram of the ensemble")


def reliability(predictions: pd.DataFrame, bins: int = _BINS) -> list[Bin]:
    """Equal bins of confidence, open below and closed above; empty ones are left out."""
    confidence = predictions["confidence"].to_numpy(np.float64)
    right = (predictions["label"] == predictions["prediction"]).to_numpy(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return [
        Bin(
            low=number / bins,
            high=(number + 1) / bins,
            confidence=float(confidence[place == number].mean()),
            accuracy=float(right[place == number].mean()),
            samples=int((place == number).sum()),
        )
        for number in np.unique(place).tolist()
    ]


def class_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a class: faces, how often it was predicted, precision, recall and F1 of the ensemble; None for 0 / 0."""
    matrix = np.asarray(evaluation["confusion"])
    f1 = evaluation["ensemble"]["f1_per_class"]
    rows = []
    for label, name in enumerate(evaluation["classes"]):
        right, actual, predicted = int(matrix[label, label]), int(matrix[label].sum()), int(matrix[:, label].sum())
        rows.append(
            {
                "name": name,
                "faces": actual,
                "predicted": predicted,
                "precision": right / predicted if predicted else None,
                "recall": right / actual if actual else None,
                "f1": float(f1[name]) if actual or predicted else None,
            }
        )
    return rows
