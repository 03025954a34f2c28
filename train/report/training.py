"""The page's section on training: curves over epochs, and the table behind them."""

import math
import re
from typing import Any

import pandas as pd
from markupsafe import Markup

from train.charts import line_chart, stacked_columns
from train.report.inputs import ReportInputs
from train.schedules import course_after, ramp_up, ramp_up_epoch

_BETAS = (0.1, 0.65, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
_LOSSES = {"loss": "Total", "supervision": "Supervision", "consistency": "Consistency"}
_SHARES = {"agree_all": "All networks agree", "train_accuracy": "Ensemble agrees with the label"}
_MEMORISED = {"flipped_fit": "The wrong label that was given", "flipped_true": "The true label"}


def training_section(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the section shows, by the names that the template uses."""
    training = inputs.training
    return {
        "epochs": len(training),
        "seconds": float(training["seconds"].sum()) if "seconds" in training else None,
        "curves": [curve for curve in (*_curves(training), _agreement(training), _lambda(inputs)) if curve],
        "columns": [str(column) for column in training.columns],
        "rows": [[_cell(value) for value in row] for row in training.itertuples(index=False)],
    }


def _curves(training: pd.DataFrame) -> list[dict[str, Any] | None]:
    scores = {"val_f1": "Ensemble"} | _each(training, "val_f1") | {"val_f1_student": "Student"}
    return [
        _curve(training, _LOSSES, "Loss", "loss", "The consistency is drawn as it is, before its weight λ."),
        _curve(training, scores, "F1 on the validation set", "macro-F1", "All classes count alike."),
        _curve(training, _SHARES, "Agreement while training", "share of training faces", "Under augmentation."),
        _curve(
            training,
            _MEMORISED | _each(training, "flipped_fit", "the wrong label"),
            "What the ensemble predicts where the label is wrong",
            "share of faces with a wrong label",
            "While training, under augmentation.",
        ),
    ]


def _each(training: pd.DataFrame, name: str, what: str = "") -> dict[str, str]:
    """Columns of single networks, `name_1` and so on, and what they are called."""
    found = [re.fullmatch(rf"{name}_(\d+)", str(column)) for column in training]
    numbers = sorted(int(match[1]) for match in found if match)
    return {f"{name}_{number}": f"Network {number}" + (f", {what}" if what else "") for number in numbers}


def _agreement(training: pd.DataFrame) -> dict[str, Any] | None:
    """On which share of the faces 1, 2, … of the networks agree; None for a single network."""
    columns = sorted(_each(training, "agree"), key=lambda name: int(name.rsplit("_", 1)[1]))
    if len(columns) < 2:
        return None
    series = {
        f"{number} of {len(columns)} agree" if number > 1 else "none agree": training[column].astype(float).tolist()
        for number, column in reversed(list(enumerate(columns, start=1)))
    }
    chart = stacked_columns(
        training["epoch"].astype(float).tolist(),
        series,
        title="On how many faces the networks agree",
        x_label="epoch",
        y_label="share of training faces",
    )
    note = "The largest group of networks that name one class; while training, under augmentation."
    return {"heading": "How many networks agree", "note": note, "chart": chart}


def _lambda(inputs: ReportInputs) -> dict[str, Any] | None:
    """λ of this run over the curves of Eq. 4 for the β of the paper's Figure 3; None for a method without λ."""
    training, params = inputs.training, inputs.params
    if "lambda" not in training or not training["lambda"].astype(float).any():
        return None
    own, epochs = training["lambda"].astype(float).tolist(), training["epoch"].astype(float).tolist()
    behind: dict[str, list[float]] = {}
    if params["method"] == "cct":
        end = ramp_up_epoch(params["epochs"], params["rampup"])
        after = course_after(params["compat"], params["after_rampup"])
        epochs += [float(epoch) for epoch in range(len(epochs), math.ceil(end) + 1)]
        behind = {
            f"{beta:g}": [
                ramp_up(epoch, beta=beta, lambda_max=params["lambda_max"], rampup=end, after_rampup=after)
                for epoch in epochs
            ]
            for beta in _BETAS
        }
    chart = line_chart(
        epochs,
        {"λ": own + [math.nan] * (len(epochs) - len(own))},
        title="Weight of the consistency loss",
        x_label="epoch",
        y_label="λ",
        behind=behind,
    )
    note = "What remains of 1 goes to the supervision."
    if behind:
        note += " Grey: Eq. 4 for the β of the paper's Figure 3, with this run's largest λ and ramp-up."
    return {"heading": "Weight of the consistency loss", "note": note, "chart": chart}


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
