"""Reliability diagram: how often predictions of a confidence are right."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from train.charts.scale import Scale, ticks
from train.charts.svg import WIDTH, chart, element, line, text

_LEFT, _TOP, _PLOT, _BELOW = 40.0, 26.0, 190.0, 46.0


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Predictions whose confidence lies in (low, high]: mean confidence, share that is right, how many."""

    low: float
    high: float
    confidence: float
    accuracy: float
    samples: int


def reliability_diagram(bins: Sequence[Bin], *, title: str) -> Markup:
    """Draws accuracy over confidence, with the gap to the diagonal, and below how many predictions each bin holds.

    Args:
        bins: those that are not empty.
        title: the accessible name.
    """
    across, up = Scale(0, 1, _LEFT, WIDTH - 8), Scale(0, 1, _TOP + _PLOT, _TOP)
    base, most = _TOP + _PLOT, max((each.samples for each in bins), default=1)
    parts = [text("share that is right", 0, _TOP - 12, colour="muted")]
    for tick in ticks(0, 1):
        parts.append(line(_LEFT, up(tick), WIDTH - 8, up(tick), "muted" if tick == 0 else "line"))
        parts.append(text(f"{tick:g}", _LEFT - 8, up(tick) + 4, anchor="end", colour="muted"))
        parts.append(text(f"{tick:g}", across(tick), base + 16, anchor="middle", colour="muted"))
    for each in bins:
        parts.append(_bin(each, across, up, base + 24, each.samples / most * _BELOW))
    parts.append(
        element(
            "path",
            element("title", "confidence equals accuracy"),
            d=f"M{across(0):.1f} {up(0):.1f}L{across(1):.1f} {up(1):.1f}",
            stroke_width=1.4,
            stroke_dasharray="5 3",
            style="stroke:var(--ink)",
        )
    )
    words = "confidence; below: predictions"
    parts.append(text(words, WIDTH - 8, base + 24 + _BELOW + 18, anchor="end", colour="muted"))
    return chart(title, WIDTH, base + 24 + _BELOW + 24, *parts)


def _bin(each: Bin, across: Scale, up: Scale, floor: float, depth: float) -> Markup:
    left, width = across(each.low) + 1, max(1.0, across(each.high) - across(each.low) - 2)
    tip = (
        f"confidence {each.low:.2f} to {each.high:.2f}: {each.samples:,} predictions, "
        f"{each.accuracy:.1%} right at a mean confidence of {each.confidence:.1%}"
    )
    low, high = sorted((each.accuracy, each.confidence))
    return element(
        "g",
        element("title", tip),
        element(
            "rect", x=left, y=up(each.accuracy), width=width, height=up(0) - up(each.accuracy), style=_fill(1, 0.8)
        ),
        element("rect", x=left, y=up(high), width=width, height=up(low) - up(high), style=_fill(2, 0.35)),
        element("rect", x=left, y=floor, width=width, height=max(0.5, depth), style=_fill(6, 0.8)),
    )


def _fill(series: int, opacity: float) -> str:
    return f"fill:var(--series-{series});opacity:{opacity}"
