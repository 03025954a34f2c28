"""Scores on each of several shard sets that were trained on together."""

from typing import Any

import numpy as np

from train import metrics
from train.evaluate import Predictions


def source_block(predictions: Predictions, dataset: str, classes: list[str]) -> dict[str, Any]:
    """Scores of the ensemble of the last epoch on one set's split, with its confusion matrix (rows actual)."""
    matrix = metrics.confusion(predictions.labels, predictions.ensemble_nc.argmax(-1), len(classes))
    found = metrics.scores(matrix)
    return {
        "dataset": dataset,
        "split": str(predictions.samples["split"].iloc[0]),
        "samples": len(predictions.labels),
        "videos": int(np.unique(predictions.samples["video"]).size),
        "f1": found.f1,
        "accuracy": found.accuracy,
        "score": found.score,
        "f1_per_class": dict(zip(classes, found.f1_per_class, strict=True)),
        "confusion": matrix.tolist(),
    }


def source_lines(blocks: list[dict[str, Any]]) -> str:
    """The scores as a table of Markdown; nothing for a set alone."""
    if not blocks:
        return ""
    rows = [
        f"| {each['dataset']}, split {each['split']} | {each['samples']} | "
        f"{each['f1']:.4f} | {each['accuracy']:.4f} | {each['score']:.4f} |"
        for each in blocks
    ]
    title = "Ensemble, last epoch, on each of the sets that it was trained on:"
    head = "| | faces | macro-F1 | accuracy | 0.67 F1 + 0.33 accuracy |"
    return "\n".join(["", title, "", head, "|---|---|---|---|---|", *rows]) + "\n"
