"""Values of several runs beside each other: a dot a run, their mean and deviation, and a figure to compare with."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from train.charts.scale import ticks
from train.charts.svg import chart, clipped, colour_of, element, legend, line, text

_WIDTH, _LEFT, _RIGHT = 560.0, 190.0, 16.0
_ROW, _GAP, _BOTTOM = 22.0, 10.0, 40.0


@dataclass(frozen=True, kw_only=True)
class Dots:
    """The values of one line, and the figure that others published for it, if there is one."""

    values: Sequence[float]
    published: float | None = None


def runs_chart(
    groups: Mapping[str, Mapping[str, Dots]], *, title: str, x_label: str, published: str | None = None
) -> Markup:
    """Draws one group of lines under another, such as rows of a table, with a line for each series of it.

    A line has a small dot a value, a bar from the mean minus to the mean plus a sample standard deviation, a stroke at
    the mean, and a hollow diamond at the published figure. The axis holds all of these and need not begin at 0.

    Args:
        groups: by name, from the top, the lines by the name of their series; lines without values are drawn empty.
        title: the accessible name.
        x_label: below the axis.
        published: what the diamonds are, for the legend.
    """
    series = list(dict.fromkeys(name for lines in groups.values() for name in lines))
    key, top = legend([name for name in series if name], _WIDTH) if any(series) else (Markup(""), 0.0)
    if published:
        key, top = Markup("").join([key, _diamond(7, top + 8), text(published, 19, top + 12)]), top + 20
    ends = [end for lines in groups.values() for each in lines.values() for end in _ends(each)]
    if not ends:
        return chart(title, _WIDTH, top + 60, key, text("no values", 0, top + 34, colour="muted"))
    marks = ticks(min(ends), max(ends), 5)

    def across(value: float) -> float:
        return _LEFT + (value - marks[0]) / (marks[-1] - marks[0]) * (_WIDTH - _LEFT - _RIGHT)

    parts, y = [], top + 14
    for group, lines in groups.items():
        height = _ROW * len(lines)
        name = text(clipped(group, _LEFT - 12), _LEFT - 12, y + height / 2 + 4, anchor="end")
        parts.append(element("g", element("title", group), name))
        for row, (name_of, dots) in enumerate(lines.items()):
            tip = f"{group}, {name_of}" if name_of else group
            parts.append(_line(tip, dots, across, y + (row + 0.5) * _ROW, colour_of(series.index(name_of))))
        y += height + _GAP
    axis = [line(across(mark), top + 8, across(mark), y - _GAP + 4) for mark in marks]
    axis += [text(f"{mark:g}", across(mark), y + 12, anchor="middle", colour="muted") for mark in marks]
    axis.append(text(x_label, _WIDTH - _RIGHT, y + 30, anchor="end", colour="muted"))
    return chart(title, _WIDTH, y + _BOTTOM, key, *axis, *parts)


def _ends(dots: Dots) -> list[float]:
    """Everything that the axis must hold."""
    spread = statistics.stdev(dots.values) if len(dots.values) > 1 else 0.0
    mean = statistics.fmean(dots.values) if dots.values else 0.0
    drawn = [*dots.values, mean - spread, mean + spread] if dots.values else []
    return drawn if dots.published is None else [*drawn, dots.published]


def _line(tip: str, dots: Dots, across: Callable[[float], float], y: float, colour: str) -> Markup:
    parts = [element("title", f"{tip}: {_told(dots)}")]
    if dots.values:
        mean = statistics.fmean(dots.values)
        if len(dots.values) > 1:
            spread = statistics.stdev(dots.values)
            x0, x1 = across(mean - spread), across(mean + spread)
            parts.append(
                element("rect", x=x0, y=y - 4, width=x1 - x0, height=8.0, rx=4, fill="currentColor", opacity=0.3)
            )
        parts.append(element("rect", x=across(mean) - 1.25, y=y - 8, width=2.5, height=16.0, fill="currentColor"))
        parts += [element("circle", cx=across(value), cy=y, r=2.6, fill="currentColor") for value in dots.values]
    if dots.published is not None:
        parts.append(_diamond(across(dots.published), y))
    return element("g", *parts, style=f"color:{colour}")


def _diamond(x: float, y: float) -> Markup:
    return element(
        "path", d=f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z", style="fill:none;stroke:var(--ink);stroke-width:1.4"
    )


def _told(dots: Dots) -> str:
    values = ", ".join(f"{value:.4f}" for value in dots.values) or "no values"
    return values if dots.published is None else f"{values}; published {dots.published:.4f}"
