"""The report: one offline HTML page on a dataset, a training and its result."""

from train.report.inputs import ReportInputs, load_inputs
from train.report.page import build_report

__all__ = ["ReportInputs", "build_report", "load_inputs"]
