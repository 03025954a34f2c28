"""Confusion matrix."""

from collections.abc import Sequence

from markupsafe import Markup

from train.charts.svg import chart, clipped, element, text

_LEFT, _TOP, _CELL, _HIGH, _TOTAL = 80.0, 66.0, 37.0, 34.0, 41.0


def heatmap(counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Markup:
    """Draws a C x C confusion matrix: actual classes downward, predicted ones across.

    Numbers are counts; the shade is the share of the row, so that rare classes can be read too. A row without
    samples stays blank.
    """
    width = _LEFT + len(names) * _CELL + _TOTAL
    parts = [
        text("predicted →", _LEFT - 8, _TOP - 24, anchor="end", colour="muted", font_size=11),
        text("actual ↓", _LEFT - 8, _TOP - 8, anchor="end", colour="muted", font_size=11),
        text("faces", width - 2, _TOP - 8, anchor="end", colour="muted", font_size=11),
    ]
    for column, name in enumerate(names):
        x, y = _LEFT + (column + 0.5) * _CELL, _TOP - 8
        word = text(clipped(name, 76), x, y, transform=f"rotate(-40 {x:.1f} {y:.1f})")
        parts.append(element("g", element("title", name), word))
    for row, name in enumerate(names):
        y, total = _TOP + row * _HIGH, sum(counts[row])
        parts += [
            element("g", element("title", name), text(clipped(name, _LEFT - 8), _LEFT - 8, y + 21, anchor="end")),
            text(short(total), width - 2, y + 21, anchor="end", colour="muted"),
            *(_cell(counts[row][column], total, (name, names[column]), column, y) for column in range(len(names))),
        ]
    return chart(title, width, _TOP + len(names) * _HIGH + 4, *parts)


def short(count: int) -> str:
    """A count in at most five characters: 99999, 180k, 12M."""
    if count < 100_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 10_000_000 else f"{count / 1_000_000:.0f}M"


def _cell(count: int, total: int, pair: tuple[str, str], column: int, y: float) -> Markup:
    actual, predicted = pair
    share, edge = count / total if total else 0.0, "muted" if actual == predicted else "line"
    x = _LEFT + column * _CELL
    tip = f"{actual} read as {predicted}: {count:,} of {total:,} ({share:.0%})"
    shade = element(
        "rect",
        x=x + 1,
        y=y + 1,
        width=_CELL - 2,
        height=_HIGH - 2,
        rx=3,
        style=f"fill:var(--series-1);fill-opacity:calc(var(--heat)*{share:.3f});stroke:var(--{edge})",
    )
    colour = "ink" if count else "muted"
    words = text(short(count), x + _CELL / 2, y + _HIGH / 2 + 4, anchor="middle", colour=colour)
    return element("g", element("title", tip), shade, words)
