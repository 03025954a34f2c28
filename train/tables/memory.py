"""How wrong labels are memorised, epoch by epoch: curves a method, over the runs of a table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from train.charts import line_chart, svg_file
from train.tables.experiments import cached
from train.tables.filled import Filled

_SHARES = {"flipped_fit": "predicts the wrong label that was given", "flipped_true": "predicts the true label"}


def memory_curves(filled: Filled) -> tuple[str, str] | None:
    """Markdown and an SVG file of what the ensemble says of faces with a wrong label; None if no run has any.

    Means over seeds. Runs whose epochs are not in DVC's cache are left out and counted.
    """
    runs = {cell: list(by_seed.values()) for cell, by_seed in filled.found.items()}
    paths = cached(run.run.rows for each in runs.values() for run in each)
    absent = sum(run.run.rows not in paths for each in runs.values() for run in each)
    curves = {
        cell: curve
        for cell, each in runs.items()
        if (curve := mean_curves([paths[run.run.rows] for run in each if run.run.rows in paths])) is not None
    }
    if not curves:
        return None
    charts = []
    for row in filled.table.rows:
        for share, meaning in _SHARES.items():
            lines = {
                cell.column or row: list(curves[cell.name][share])
                for cell in filled.table.of_row(row)
                if cell.name in curves
            }
            if lines:
                epochs = range(max(map(len, lines.values())))
                padded = {
                    name: [*values, *[float("nan")] * (len(epochs) - len(values))] for name, values in lines.items()
                }
                title = f"{row}: {meaning}"
                share_of = "share of the faces with a wrong label"
                charts.append((title, line_chart(list(epochs), padded, title=title, x_label="epoch", y_label=share_of)))
    return _markdown(filled, curves, absent), svg_file("What is memorised", charts, columns=2)


def mean_curves(paths: list[Path]) -> dict[str, list[float]] | None:
    """Means over `results/training.csv` of several runs, by epoch; None if they have no wrong labels."""
    tables = [pd.read_csv(path) for path in paths]
    tables = [table for table in tables if set(_SHARES) <= set(table) and table[list(_SHARES)].notna().any(axis=None)]
    if not tables:
        return None
    length = min(len(table) for table in tables)
    return {
        share: np.mean([table[share].to_numpy(float)[:length] for table in tables], axis=0).tolist()
        for share in _SHARES
    }


def _markdown(filled: Filled, curves: Mapping[str, Mapping[str, list[float]]], absent: int) -> str:
    lines = [
        "## What is memorised",
        "",
        "Of the training faces whose label is wrong, the share for which the ensemble predicts that label, and the "
        "true one; last epoch, while training, means over seeds. The curves are in the plot beside.",
        "",
        "| | wrong label | true label |",
        "|---|---|---|",
    ]
    for cell in filled.table.cells:
        if cell.name in curves:
            last = [curves[cell.name][share][-1] for share in _SHARES]
            lines.append(f"| {cell.name} | {last[0]:.3f} | {last[1]:.3f} |")
    if absent:
        lines += ["", f"The epochs of {absent} runs are not in DVC's cache here; `dvc exp pull` brings them."]
    return "\n".join(lines) + "\n"
