"""Line chart: several series over epochs."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from train.charts.scale import Scale, ticks
from train.charts.svg import WIDTH, chart, clipped, colour_of, dash_of, element, legend, line, text

_LEFT, _RIGHT, _PLOT, _BOTTOM = 40.0, 8.0, 160.0, 40.0
_DOTS = 60
"""Points are marked, and tell their value, up to so many a series."""


def line_chart(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    behind: Mapping[str, Sequence[float]] | None = None,
) -> Markup:
    """Draws each series over x; the vertical axis includes 0.

    Args:
        x: rising positions, such as epochs.
        series: by name, one value a position; NaN leaves a gap.
        title: the accessible name.
        x_label: below the horizontal axis.
        y_label: above the vertical axis.
        behind: more series, to compare with: thin, grey, without dots, their names beside the lines.
    """
    names = list(series)
    key, top = legend(names, WIDTH) if len(names) > 1 else (Markup(""), 0.0)
    top += 30
    backdrop = behind or {}
    finite = [value for values in (*series.values(), *backdrop.values()) for value in values if math.isfinite(value)]
    if not finite or not x:
        return chart(title, WIDTH, 60, text("no values", 0, 34, colour="muted"))
    y_ticks = ticks(min(0.0, *finite), max(0.0, *finite))
    y = Scale(y_ticks[0], y_ticks[-1], top + _PLOT, top)
    across = Scale(min(x), max(x) if max(x) > min(x) else min(x) + 1, _LEFT, WIDTH - _RIGHT)
    marks = []
    for position, (name, values) in enumerate(series.items()):
        points = [(across(at), y(value), at, value) for at, value in zip(x, values, strict=True)]
        marks.append(_series(name, position, points, x_label))
    grey = [
        _behind(name, [(across(at), y(value)) for at, value in zip(x, values, strict=True)])
        for name, values in backdrop.items()
    ]
    words = text(clipped(y_label, WIDTH), 0, top - 16, colour="muted")
    axes = _axes(y, y_ticks, across, top, x_label)
    return chart(title, WIDTH, top + _PLOT + _BOTTOM, key, words, axes, *grey, *reversed(marks))


def _axes(y: Scale, y_ticks: list[float], across: Scale, top: float, x_label: str) -> Markup:
    parts = []
    for tick in y_ticks:
        parts.append(line(_LEFT, y(tick), WIDTH - _RIGHT, y(tick), "muted" if tick == 0 else "line"))
        parts.append(text(f"{tick:g}", _LEFT - 8, y(tick) + 4, anchor="end", colour="muted"))
    base = top + _PLOT
    for tick in ticks(across.low, across.high, 6, whole=True):
        if across.low <= tick <= across.high:
            parts.append(text(f"{tick:g}", across(tick), base + 18, anchor="middle", colour="muted"))
    parts.append(text(clipped(x_label, WIDTH), WIDTH - _RIGHT, base + 34, anchor="end", colour="muted"))
    return element("g", *parts)


def _series(name: str, position: int, points: list[tuple[float, float, float, float]], x_label: str) -> Markup:
    runs: list[list[str]] = [[]]
    dots = []
    for x, y, at, value in points:
        if not math.isfinite(value):
            runs.append([])
            continue
        runs[-1].append(f"{x:.1f} {y:.1f}")
        tip = element("title", f"{name}, {x_label} {at:g}: {value:.4g}")
        dots.append(element("circle", tip, cx=x, cy=y, r=2.6, fill="currentColor"))
    path = element(
        "path",
        d="".join("M" + "L".join(run) for run in runs if run),
        fill="none",
        stroke="currentColor",
        stroke_width=2.4 if position == 0 else 1.6,
        stroke_linejoin="round",
        stroke_dasharray=dash_of(position),
    )
    shown = dots if len(dots) <= _DOTS else []
    return element("g", path, *shown, style=f"color:{colour_of(position)}")


def _behind(name: str, points: list[tuple[float, float]]) -> Markup:
    """A grey line with its name where it is half way up."""
    middle = (min(y for _, y in points) + max(y for _, y in points)) / 2
    at_x, at_y = min(points, key=lambda point: abs(point[1] - middle))
    path = element(
        "path",
        element("title", name),
        d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points),
        fill="none",
        stroke_width=1.2,
        style="stroke:var(--muted);opacity:.55",
    )
    return element("g", path, text(name, at_x + 3, at_y - 3, colour="muted", font_size=9.5))
