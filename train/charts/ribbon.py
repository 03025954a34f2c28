"""One row a person: which class is predicted when, as a ribbon over time."""

from collections.abc import Sequence

from markupsafe import Markup

from train.charts.svg import chart, clipped, element, legend, text, tint_of

_WIDTH, _LEFT, _ROW, _GAP = 760.0, 82.0, 26.0, 8.0

Run = tuple[int, int, int]
"""First frame, last frame (inclusive), class."""


def ribbon_chart(
    rows: Sequence[tuple[str, Sequence[Run]]], classes: Sequence[str], frames: int, *, title: str
) -> Markup:
    """Draws each person's predicted classes over the frames; nothing is drawn where a person is not seen.

    Args:
        rows: a person's name and runs.
        classes: names in order; each has its colour.
        frames: length of the horizontal axis.
        title: the accessible name.
    """
    key, top = legend(list(classes), _WIDTH, areas=True)
    step = (_WIDTH - _LEFT) / max(1, frames)
    parts, y = [], top + 8
    for name, runs in rows:
        parts.append(text(clipped(name, _LEFT - 8), _LEFT - 8, y + _ROW / 2 + 4, anchor="end"))
        parts.append(element("rect", x=_LEFT, y=y, width=_WIDTH - _LEFT, height=_ROW, style="fill:var(--soft)"))
        for first, last, label in runs:
            tip = element("title", f"{name}, frames {first} to {last}: {classes[label]}")
            left, width = _LEFT + first * step, (last - first + 1) * step
            style = f"fill:{tint_of(label)}"
            parts.append(element("rect", tip, x=left, y=y, width=max(0.5, width), height=_ROW, style=style))
        y += _ROW + _GAP
    parts.append(text("frame 0", _LEFT, y + 10, colour="muted"))
    parts.append(text(f"frame {max(0, frames - 1)}", _WIDTH, y + 10, anchor="end", colour="muted"))
    return chart(title, _WIDTH, y + 18, key, *parts)
