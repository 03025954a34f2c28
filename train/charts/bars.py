"""Horizontal bars, grouped, and the strip that shows a value within its interval."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from train.charts.svg import WIDTH, chart, clipped, colour_of, element, legend, line, text

_LEFT, _RIGHT, _GAP = 82.0, 56.0, 12.0
_STRIP = 240.0


def bar_chart(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    labels: Mapping[str, Sequence[str]],
) -> Markup:
    """Draws one group of bars under another, such as classes, with a bar for each series, such as splits.

    Args:
        groups: names of the groups, from the top.
        series: by name, one value a group, at least 0; the longest bar fills the width.
        title: the accessible name.
        labels: what is written at the end of each bar, in the form of `series`.
    """
    key, top = legend(list(series), WIDTH) if len(series) > 1 else (Markup(""), 0.0)
    longest = max((value for values in series.values() for value in values), default=0) or 1
    bar = 20.0 if len(series) == 1 else 12.0
    height = bar * len(series) + (len(series) - 1) * 2
    parts, y = [], top + 6
    for row, group in enumerate(groups):
        name = text(clipped(group, _LEFT - 8), _LEFT - 8, y + height / 2 + 4, anchor="end")
        parts.append(element("g", element("title", group), name))
        for position, (series_name, values) in enumerate(series.items()):
            label = labels[series_name][row]
            length = values[row] / longest * (WIDTH - _LEFT - _RIGHT)
            tip = f"{group}, {series_name}: {label}"
            parts.append(_bar(tip, label, y + position * (bar + 2), bar, length, colour_of(position)))
        y += height + _GAP
    base = line(_LEFT, top, _LEFT, y - _GAP + 6, "muted")
    return chart(title, WIDTH, y, key, *parts, base)


def _bar(tip: str, label: str, y: float, height: float, length: float, colour: str) -> Markup:
    return element(
        "g",
        element("title", tip),
        element("rect", x=_LEFT, y=y, width=length, height=height, rx=1.5, style=f"fill:{colour}"),
        text(label, _LEFT + length + 6, y + height / 2 + 4, colour="muted", font_size=11),
    )


def interval_strip(value: float, interval: tuple[float, float] | None, *, title: str) -> Markup:
    """A dot at `value` on a track from 0 to 1, inside the band of its interval if there is one."""

    def at(share: float) -> float:
        return min(1.0, max(0.0, share)) * _STRIP

    track = element("rect", x=0, y=6.0, width=_STRIP, height=4, rx=2, style="fill:var(--line)")
    band = Markup("")
    if interval:
        low, high = (at(end) for end in interval)
        band = element(
            "rect",
            x=low,
            y=4.0,
            width=max(2.0, high - low),
            height=8,
            rx=4,
            style="fill:var(--series-1);opacity:.35",
        )
    dot = element("circle", cx=at(value), cy=8, r=5, style="fill:var(--series-1)")
    return chart(title, _STRIP, 16, track, band, dot, least=0)
