"""Charts as inline SVG: pure functions from numbers to markup, coloured by the page's CSS variables."""

from train.charts.bars import bar_chart, interval_strip
from train.charts.dots import Dot, dot_chart
from train.charts.heatmap import heatmap
from train.charts.histogram import Quantiles, spread_chart
from train.charts.lines import line_chart
from train.charts.reliability import Bin, reliability_diagram
from train.charts.runs import Dots, runs_chart
from train.charts.stack import stacked_columns
from train.charts.standalone import svg_file

__all__ = [
    "Bin",
    "Dot",
    "Dots",
    "Quantiles",
    "bar_chart",
    "dot_chart",
    "heatmap",
    "interval_strip",
    "line_chart",
    "reliability_diagram",
    "runs_chart",
    "spread_chart",
    "stacked_columns",
    "svg_file",
]
