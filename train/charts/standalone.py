"""Charts as one file by itself: an SVG that brings its colours along, for light and for dark pages."""

import re
from collections.abc import Sequence
from importlib.resources import files as resources

from markupsafe import Markup

from train.charts.svg import FONT, element, text

_MARGIN, _HEADING = 16.0, 30.0


def svg_file(title: str, charts: Sequence[tuple[str, Markup]], *, columns: int = 1) -> str:
    """An SVG document of charts, each under its heading, in rows of so many.

    Args:
        title: of the whole, above everything.
        charts: heading (may be empty) and chart, in order.
        columns: how many stand side by side.
    """
    rows = [charts[begin : begin + columns] for begin in range(0, len(charts), columns)]
    column = max(_size(each)[0] for _, each in charts)
    parts = [text(title, _MARGIN, _MARGIN + 14, font_size=15, font_weight=600)]
    y = _MARGIN + 30
    for row in rows:
        headed = _HEADING if any(heading for heading, _ in row) else 0.0
        for position, (heading, each) in enumerate(row):
            x, (width, height) = _MARGIN + position * (column + _MARGIN), _size(each)
            parts.append(text(heading, x, y + 16, font_weight=600))
            parts.append(element("svg", each, x=x, y=y + headed, width=width, height=height))
        y += headed + max(_size(each)[1] for _, each in row) + _MARGIN
    width = column * min(columns, len(charts)) + _MARGIN * (min(columns, len(charts)) + 1)
    whole = element(
        "svg",
        element("title", title),
        element("style", Markup(_colours())),
        element("rect", width=width, height=y, style="fill:var(--card)"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {y:.0f}",
        width=width,
        height=y,
        font_family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
        font_size=FONT,
    )
    return f"{whole}\n"


def _size(chart: Markup) -> tuple[float, float]:
    """Width and height of a chart, as its frame tells."""
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', chart)
    if found is None:
        raise ValueError("not a chart")
    return float(found[1]), float(found[2])


def _colours() -> str:
    return resources("train").joinpath("templates/colours.css").read_text(encoding="utf-8")
