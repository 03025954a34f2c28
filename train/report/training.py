"""The page's section on training: curves over epochs, and the table behind them."""

import math
import re
from typing import Any

import pandas as pd
from markupsafe import Markup

from train.charts import line_chart
from train.report.inputs import ReportInputs

_LOSSES = {"loss": "Total", "supervision": "Supervision", "consistency": "Consistency"}
_SHARES = {"agree_all": "All networks agree", "train_accuracy": "Ensemble agrees with the label"}
_MEMORISED = {"flipped_fit": "The wrong label that was given", "flipped_true": "The true label"}


def training_section(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the section shows, by the names that the template uses."""
    training = inputs.training
    return {
        "epochs": len(training),
        "seconds": float(training["seconds"].sum()) if "seconds" in training else None,
        "curves": [curve for curve in _curves(training) if curve],
        "columns": [str(column) for column in training.columns],
        "rows": [[_cell(value) for value in row] for row in training.itertuples(index=False)],
    }


def _curves(training: pd.DataFrame) -> list[dict[str, Any] | None]:
    networks = sorted(
        (str(name) for name in training if re.fullmatch(r"val_f1_\d+", str(name))),
        key=lambda name: int(name[7:]),
    )
    scores = {"val_f1": "Ensemble"} | {name: f"Network {name[7:]}" for name in networks}
    scores |= {"val_f1_student": "Student"}
    return [
        _curve(training, _LOSSES, "Loss", "loss", "The consistency is drawn as it is, before its weight λ."),
        _curve(
            training,
            {"lambda": "λ"},
            "Weight of the consistency loss",
            "λ",
            "What remains of 1 goes to the supervision.",
        ),
        _curve(training, scores, "F1 on the validation set", "macro-F1", "All classes count alike."),
        _curve(training, _SHARES, "Agreement while training", "share of training faces", "Under augmentation."),
        _curve(
            training,
            _MEMORISED,
            "What the ensemble predicts where the label is wrong",
            "share of faces with a wrong label",
            "While training, under augmentation.",
        ),
    ]


def _curve(
    training: pd.DataFrame, names: dict[str, str], heading: str, y_label: str, note: str
) -> dict[str, Any] | None:
    """One chart of the columns that are there and say something; None without any."""
    series = {}
    for column, name in names.items():
        values = training[column].astype(float).tolist() if column in training else []
        if any(math.isfinite(value) and value != 0 for value in values) or (column in ("loss", "val_f1") and values):
            series[name] = values
    if not series:
        return None
    chart: Markup = line_chart(
        training["epoch"].astype(float).tolist(), series, title=heading, x_label="epoch", y_label=y_label
    )
    return {"heading": heading, "note": note, "chart": chart}


def _cell(value: Any) -> str:
    """A number as short as four digits allow; a whole number in full."""
    number = float(value)
    if not math.isfinite(number):
        return "\N{EN DASH}"
    return f"{number:.0f}" if number == int(number) else f"{number:.4g}"
