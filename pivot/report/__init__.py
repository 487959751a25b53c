"""The report of a run: one HTML page and closing tables, from plain values read off its files."""

from pivot.report.data import Evaluation, Example, ExampleSample, MinedCandidate, ReportData, SeedResult
from pivot.report.page import write_report
from pivot.report.terminal import print_evaluation, print_summary

__all__ = [
    "Evaluation",
    "Example",
    "ExampleSample",
    "MinedCandidate",
    "ReportData",
    "SeedResult",
    "print_evaluation",
    "print_summary",
    "write_report",
]
