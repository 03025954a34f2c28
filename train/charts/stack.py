"""Stacked columns: shares that make up a whole, over epochs."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from train.charts.scale import Scale, ticks
from train.charts.svg import WIDTH, chart, clipped, colour_of, element, legend, line, text

_LEFT, _PLOT = 40.0, 160.0


def stacked_columns(
    x: Sequence[float], series: Mapping[str, Sequence[float]], *, title: str, x_label: str, y_label: str
) -> Markup:
    """Draws a column at each x, its parts from below in the order of the series.

    Args:
        x: positions, such as epochs.
        series: by name, one share at each position; those of one position sum to about 1.
        title: the accessible name.
        x_label: below the horizontal axis.
        y_label: above the vertical axis.
    """
    key, top = legend(list(series), WIDTH)
    top += 30
    y = Scale(0, 1, top + _PLOT, top)
    step = (WIDTH - _LEFT - 8) / max(1, len(x))
    gap = min(3.0, step * 0.15)
    parts = []
    for tick in ticks(0, 1):
        parts.append(line(_LEFT, y(tick), WIDTH - 8, y(tick), "muted" if tick == 0 else "line"))
        parts.append(text(f"{tick:g}", _LEFT - 8, y(tick) + 4, anchor="end", colour="muted"))
    for column, at in enumerate(x):
        below = 0.0
        for position, (name, values) in enumerate(series.items()):
            share = max(0.0, values[column]) if values[column] == values[column] else 0.0
            parts.append(
                element(
                    "rect",
                    element("title", f"{name}, {x_label} {at:g}: {share:.1%}"),
                    x=_LEFT + column * step + gap,
                    y=y(min(1.0, below + share)),
                    width=max(0.5, step - 2 * gap),
                    height=y(below) - y(min(1.0, below + share)),
                    style=f"fill:{colour_of(position)}",
                )
            )
            below += share
    every = max(1, -(-len(x) // 8))
    for column in range(0, len(x), every):
        middle = _LEFT + (column + 0.5) * step
        parts.append(text(f"{x[column]:g}", middle, top + _PLOT + 18, anchor="middle", colour="muted"))
    words = [
        text(clipped(y_label, WIDTH), 0, top - 16, colour="muted"),
        text(clipped(x_label, WIDTH), WIDTH - 8, top + _PLOT + 34, anchor="end", colour="muted"),
    ]
    return chart(title, WIDTH, top + _PLOT + 40, key, *words, *parts)
