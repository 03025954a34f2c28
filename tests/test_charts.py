"""Charts on plain and odd numbers, and the paper's tables."""

import re

import pytest

from train.charts import bar_chart, heatmap, interval_strip, line_chart
from train.charts.lines import ticks
from train.paper import TABLES


def test_paper_tables_keep_the_papers_score() -> None:
    """Eq. 7 holds for the printed figures, as far as the paper rounds them."""
    assert [table.number for table in TABLES] == [1, 2, 3, 4, 5, 6, 7]
    rows = [row for table in TABLES for row in table.rows]
    assert len(rows) == 31
    assert all(abs(0.67 * row.f1 + 0.33 * row.accuracy - row.score) < 0.007 for row in rows)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.9, [0, 0.25, 0.5, 0.75, 1]),
        (0, 6.1, [0, 2, 4, 6, 8]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_enclose(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_whole_ticks() -> None:
    assert ticks(0, 11, 6, whole=True) == [0, 2, 4, 6, 8, 10, 12]
    assert ticks(0, 1, 6, whole=True) == [0, 1]


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart(["a", "b"], {"s": [0.5, 0.25]}, title="t", labels={"s": ["half", "quarter"]})
    longest, half = re.findall(r'<rect [^>]*width="([\d.]+)"', chart)
    assert float(longest) == pytest.approx(2 * float(half), abs=0.1)
    assert "a, s: half" in chart


def test_every_chart_has_an_accessible_name() -> None:
    charts = [
        line_chart([0, 1], {"a": [1, 2]}, title="<t>", x_label="x", y_label="y"),
        bar_chart(["a"], {"s": [1]}, title="<t>", labels={"s": ["1"]}),
        heatmap([[1]], ["a"], title="<t>"),
        interval_strip(0.5, (0.4, 0.6), title="<t>"),
        interval_strip(0.5, None, title="<t>"),
    ]
    for chart in charts:
        assert 'role="img"' in chart
        assert 'aria-label="&lt;t&gt;"' in chart and "<title>&lt;t&gt;</title>" in chart


def test_many_series_stay_apart() -> None:
    chart = line_chart([0, 1], {f"n{k}": [k, k] for k in range(16)}, title="t", x_label="x", y_label="y")
    drawn = re.findall(r'<path d="M[^"]*L[^"]*"[^>]*?(stroke-dasharray="[^"]*")?></path></?', chart)
    assert len(drawn) == 16
    assert len(set(drawn)) == 3


def test_charts_bear_odd_numbers() -> None:
    nan = float("nan")
    assert "no values" in line_chart([0], {"a": [nan]}, title="t", x_label="x", y_label="y")
    gapped = line_chart([0, 1, 2], {"a": [1, nan, 3], "<b>": [0, 0, 0]}, title="t", x_label="x", y_label="y")
    assert "nan" not in gapped and "<b>" not in gapped
    assert "&lt;i&gt;" in bar_chart(["<i>"], {"s": [0]}, title="t", labels={"s": ["0"]})
    matrix = heatmap([[0, 0], [3, 1_234_567]], ["a", "b"], title="t")
    assert "1235k" in matrix and "b read as a: 3 of 1,234,570 (0%)" in matrix
