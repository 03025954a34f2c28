"""What every chart is made of: escaped elements, the frame with its accessible name, clipped text, legends.

Lengths are viewBox units: pixels at the chart's own size. Colours come from the page: `--ink`, `--muted`,
`--line`, `--series-1` to `--series-6`, and `--heat`, the opacity of a full cell.
"""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH = 380.0
"""Width of the charts that fill a column; a phone shows them at nine tenths of it."""

FONT = 12
COLOURS = 6
_CHARACTER = 6.6
_LEGEND_LINE = 18.0
_SHRINK, _GROW = 0.8, 1.2


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element; attributes, and children that are not markup, are escaped. `font_size` becomes `font-size`."""
    spelled = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _spelled(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, spelled, Markup("").join(children))


def _spelled(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def chart(title: str, width: float, height: float, *children: str, least: float = _SHRINK) -> Markup:
    """The chart's frame: named for screen readers, as wide as its container, but no less than `least` of its width."""
    return element(
        "svg",
        element("title", title),
        *children,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_label=title,
        class_="chart",
        font_size=FONT,
        style=f"min-width:{width * least:.0f}px;max-width:{width * _GROW:.0f}px",
    )


def text(words: str, x: float, y: float, *, anchor: str = "start", colour: str = "ink", **more: object) -> Markup:
    """Words with their baseline at (x, y), in the page's colour `--colour`."""
    return element("text", words, x=x, y=y, text_anchor=anchor, style=f"fill:var(--{colour})", **more)


def line(x0: float, y0: float, x1: float, y1: float, colour: str = "line") -> Markup:
    """A hairline."""
    return element("line", x1=x0, y1=y0, x2=x1, y2=y1, style=f"stroke:var(--{colour})")


def colour_of(position: int) -> str:
    """The CSS colour of a chart's n-th series, from 0; colours repeat after six."""
    return f"var(--series-{position % COLOURS + 1})"


def dash_of(position: int) -> str | None:
    """The dash pattern that tells apart series of one colour."""
    return None if position < COLOURS else "5 3" if position < 2 * COLOURS else "2 3"


def clipped(words: str, width: float) -> str:
    """Words cut to about `width` units, with an ellipsis in place of what is missing."""
    longest = max(1, int(width / _CHARACTER))
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def tint_of(position: int) -> str:
    """The CSS fill of the n-th class of areas, from 0: a colour that comes again after six is paler."""
    return f"{colour_of(position)};opacity:.55" if position >= COLOURS else colour_of(position)


def legend(names: Sequence[str], width: float, *, areas: bool = False) -> tuple[Markup, float]:
    """Swatches with names, flowing into as many lines as they need; the markup and its height.

    They show lines, dashed as `dash_of` says, or areas, tinted as `tint_of` says.
    """
    entries, x, y = [], 0.0, 0.0
    for position, name in enumerate(names):
        label = clipped(name, width - 22)
        needed = 22 + len(label) * _CHARACTER
        if x and x + needed > width:
            x, y = 0.0, y + _LEGEND_LINE
        swatch = element(
            "path",
            d=f"M{x:.0f} {y + 7:.0f}h14",
            stroke_width=10 if areas else 4,
            stroke_dasharray=None if areas else dash_of(position),
            style=f"stroke:{tint_of(position) if areas else colour_of(position)}",
        )
        entries += [swatch, text(label, x + 19, y + 11)]
        x += needed + 14
    return element("g", *entries), y + _LEGEND_LINE
