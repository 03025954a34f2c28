"""Values with intervals under one another: one's own beside published ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from train.charts.scale import Scale, ticks
from train.charts.svg import WIDTH, chart, clipped, element, line, text

_LEFT, _RIGHT, _ROW = 150.0, 46.0, 24.0


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A value in [0, 1], with its interval if it has one; `own` ones stand out, others are hollow."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    own: bool = False


def dot_chart(dots: Sequence[Dot], *, title: str, x_label: str) -> Markup:
    """Draws a dot a row on an axis from 0 to 1, from the top.

    Args:
        dots: the rows.
        title: the accessible name.
        x_label: below the axis.
    """
    across = Scale(0, 1, _LEFT, WIDTH - _RIGHT)
    base = 6 + len(dots) * _ROW
    parts = []
    for tick in ticks(0, 1):
        parts.append(line(across(tick), 2, across(tick), base, "muted" if tick == 0 else "line"))
        parts.append(text(f"{tick:g}", across(tick), base + 16, anchor="middle", colour="muted", font_size=11))
    parts += [_row(dot, across, 6 + (place + 0.5) * _ROW) for place, dot in enumerate(dots)]
    parts.append(text(clipped(x_label, WIDTH), WIDTH - _RIGHT, base + 32, anchor="end", colour="muted", font_size=11))
    return chart(title, WIDTH, base + 38, *parts)


def _row(dot: Dot, across: Scale, y: float) -> Markup:
    tip, band = f"{dot.name}: {dot.value:.3f}", Markup("")
    if dot.interval:
        low, high = dot.interval
        tip += f", interval {low:.3f} to {high:.3f}"
        band = element(
            "rect",
            x=across(low),
            y=y - 4,
            width=max(2.0, across(high) - across(low)),
            height=8,
            rx=4,
            style="fill:var(--series-1);opacity:.35",
        )
    fill = "fill:var(--series-1)" if dot.own else "fill:var(--card);stroke:var(--muted);stroke-width:1.6"
    weight = "600" if dot.own else None
    return element(
        "g",
        element("title", tip),
        text(clipped(dot.name, _LEFT - 10), _LEFT - 10, y + 4, anchor="end", font_weight=weight),
        band,
        element("circle", cx=across(min(1.0, max(0.0, dot.value))), cy=y, r=5 if dot.own else 4, style=fill),
        text(f"{dot.value:.3f}", WIDTH, y + 4, anchor="end", colour="muted", font_weight=weight),
    )
