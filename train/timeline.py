"""Predictions of one video as an offline page: who shows what when, and how sure the networks are."""

from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from train.charts import line_chart
from train.charts.ribbon import Run, ribbon_chart

_POINTS = 400
"""Most points of a curve; longer videos are averaged."""

_PERSONS = 12
"""Most people with curves of their own."""


def timeline_page(name: str, table: pd.DataFrame, classes: Sequence[str], frames: int) -> str:
    """The page as HTML text.

    Args:
        name: of the video.
        table: as `predict_people` returns it.
        classes: names in order.
        frames: of the video.
    """
    people = [(int(str(person)), rows) for person, rows in table.groupby("person")]
    ribbons = [(f"person {person}", runs(rows, classes)) for person, rows in people]
    environment = Environment(loader=PackageLoader("train"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("timeline.html.j2").render(
        name=name,
        frames=frames,
        people=len(people),
        faces=len(table),
        ribbon=ribbon_chart(ribbons, classes, frames, title="Predicted class of each person over time"),
        curves=[{"person": person, "chart": _curves(rows, classes)} for person, rows in people[:_PERSONS]],
    )


def runs(rows: pd.DataFrame, classes: Sequence[str]) -> list[Run]:
    """Stretches of successive frames with one predicted class; `rows` are one person's, by frame."""
    found: list[Run] = []
    for frame_index, name in zip(rows["frame_index"].tolist(), rows["prediction"], strict=True):
        label = classes.index(name)
        if found and found[-1][1] == frame_index - 1 and found[-1][2] == label:
            found[-1] = (found[-1][0], frame_index, label)
        else:
            found.append((frame_index, frame_index, label))
    return found


def _curves(rows: pd.DataFrame, classes: Sequence[str]) -> str:
    first, last = int(rows["frame_index"].iloc[0]), int(rows["frame_index"].iloc[-1])
    step = -(-(last - first + 1) // _POINTS)
    grouped = rows.groupby((rows["frame_index"] - first) // step)[list(classes)].mean()
    grouped = grouped.reindex(range((last - first) // step + 1))
    at = [first + step * place + (step - 1) / 2 for place in grouped.index]
    series = {name: grouped[name].tolist() for name in classes}
    return line_chart(at, series, title="Probability of each class", x_label="frame", y_label="probability")
