"""Charts as inline SVG: pure functions from numbers to markup, coloured by the page's CSS variables."""

from train.charts.bars import bar_chart, interval_strip
from train.charts.dots import Dots, dot_chart
from train.charts.heatmap import heatmap
from train.charts.lines import line_chart
from train.charts.standalone import svg_file

__all__ = ["Dots", "bar_chart", "dot_chart", "heatmap", "interval_strip", "line_chart", "svg_file"]
