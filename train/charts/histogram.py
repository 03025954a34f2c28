"""How a measure is spread: outlines of histograms, and quantiles of groups under one another."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from train.charts.scale import Scale, ticks
from train.charts.svg import WIDTH, chart, clipped, colour_of, dash_of, element, legend, line, text

_LEFT, _RIGHT, _PLOT = 82.0, 10.0, 96.0
_ROW = 20.0

Quantiles = tuple[float, float, float, float, float]
"""The 5th, 25th, 50th, 75th and 95th percentile."""


def spread_chart(
    edges: Sequence[float],
    shares: Mapping[str, Sequence[float]],
    groups: Mapping[str, Quantiles | None],
    *,
    title: str,
    x_label: str,
) -> Markup:
    """Histograms of a few series above one axis, such as splits; quantiles of groups, such as classes, below it.

    Args:
        edges: B + 1 rising bounds of the bins.
        shares: by series, B shares that sum to 1.
        groups: by name; None for a group without values.
        title: the accessible name.
        x_label: what is measured, with its unit.
    """
    key, top = legend(list(shares), WIDTH) if len(shares) > 1 else (Markup(""), 0.0)
    top += 8
    across = Scale(edges[0], edges[-1], _LEFT, WIDTH - _RIGHT)
    up = Scale(0, max((share for each in shares.values() for share in each), default=1) or 1, top + _PLOT, top)
    base = top + _PLOT
    outlines = [_outline(name, place, edges, each, across, up) for place, (name, each) in enumerate(shares.items())]
    parts = [*reversed(outlines), line(_LEFT, base, WIDTH - _RIGHT, base, "muted")]
    for tick in ticks(edges[0], edges[-1]):
        if edges[0] <= tick <= edges[-1]:
            parts.append(line(across(tick), base, across(tick), base + 4, "muted"))
            parts.append(text(f"{tick:g}", across(tick), base + 16, anchor="middle", colour="muted", font_size=11))
    y = base + 30
    for name, quantiles in groups.items():
        parts.append(_group(name, quantiles, across, y))
        y += _ROW
    parts.append(text(clipped(x_label, WIDTH), WIDTH - _RIGHT, y + 6, anchor="end", colour="muted", font_size=11))
    return chart(title, WIDTH, y + 12, key, *parts)


def _outline(
    name: str, position: int, edges: Sequence[float], shares: Sequence[float], across: Scale, up: Scale
) -> Markup:
    steps = "".join(
        f"L{across(low):.1f} {up(share):.1f}H{across(high):.1f}"
        for low, high, share in zip(edges, edges[1:], shares, strict=False)
    )
    return element(
        "path",
        element("title", name),
        d=f"M{across(edges[0]):.1f} {up(0):.1f}{steps}V{up(0):.1f}",
        stroke_width=1.8,
        stroke_dasharray=dash_of(position),
        style=f"stroke:{colour_of(position)};fill:{colour_of(position)};fill-opacity:.1",
    )


def _group(name: str, quantiles: Quantiles | None, across: Scale, y: float) -> Markup:
    label = text(clipped(name, _LEFT - 8), _LEFT - 8, y + 4, anchor="end", font_size=11)
    if quantiles is None:
        return element("g", label, text("no faces", _LEFT, y + 4, colour="muted", font_size=11))
    low, first, median, third, high = quantiles
    ends = [min(max(across(value), _LEFT), WIDTH - _RIGHT) for value in quantiles]
    tip = f"{name}: median {median:.4g}, half of them {first:.4g} to {third:.4g}, nine of ten {low:.4g} to {high:.4g}"
    half = element(
        "rect",
        x=ends[1],
        y=y - 4,
        width=max(1.0, ends[3] - ends[1]),
        height=8,
        rx=2,
        style="fill:var(--series-1);opacity:.45",
    )
    dot = element("circle", cx=ends[2], cy=y, r=3.4, style="fill:var(--series-1)")
    return element("g", element("title", tip), label, line(ends[0], y, ends[4], y, "muted"), half, dot)
