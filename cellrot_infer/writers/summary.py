"""What follows from the count, as one table: lineages, ratios, doubt, precision.

Each line is a measure with its 95 % interval; `cells` of `of` cells went into it.
"""

from collections import Counter
from collections.abc import Iterator

from cellrot_infer.differential import (
    accepted_counts,
    denominator,
    needed_cells,
)
from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.lineages import count_ratios, lineage_shares
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import ENGLISH, CsvStyle, Row, csv_file, decimals, plain

COLUMNS = ("measure", "name", "value", "ci_low", "ci_high", "cells", "of", "note")


def summary_csv(report: Report, style: CsvStyle = ENGLISH) -> str:
    """Return the measures that follow from the count, a line each.

    `counted` says how many of all cells are in the denominator. `lineage` and
    `class with confusion` are percentages; the latter carries the classifier's own
    confusion. `ratio` is the number of cells above for each cell below.
    `further cells` brings every class found to the precision that it names. Images
    that failed, and frames that should not be trusted, follow by name and reason.
    """
    filled = ((*row, "") if len(row) < len(COLUMNS) else row for row in _rows(report))
    return csv_file([COLUMNS, *filled], style)


def _rows(report: Report) -> Iterator[Row]:
    total = denominator(report)
    yield "counted", "all", "", "", "", total, len(report.findings)
    for share in lineage_shares(report):
        measures = share.percent, share.ci_low, share.ci_high
        shown = (decimals(value, 2) for value in measures)
        yield "lineage", plain(share.label), *shown, share.count, total
    yield from _ratios(report)
    for label, interval in confusion_intervals(report).items():
        ends = (decimals(100 * end, 2) for end in interval)
        yield "class with confusion", plain(label), "", *ends, "", ""
    if needed := needed_cells(report):
        points = report.scheme.precision_points
        name = f"{plain(needed[1])} within {points:g} points"
        yield "further cells", name, needed[0], "", "", "", total
    yield from _frames(report)


def _frames(report: Report) -> Iterator[Row]:
    for failure in report.failures:
        yield "failed", plain(failure.path), *[""] * 5, plain(failure.reason)
    cells = Counter(finding.frame for finding in report.findings)
    for frame in report.frames:
        if frame.warnings:
            reasons = plain("; ".join(frame.warnings))
            own = cells[frame.name], len(report.findings)
            yield "frame with a warning", plain(frame.name), "", "", "", *own, reasons


def _ratios(report: Report) -> Iterator[Row]:
    counts = accepted_counts(report)
    known = {*report.provenance.class_names, *counts}
    for ratio in count_ratios(counts, sorted(known), report.scheme):
        if ratio.above + ratio.below == 0:
            continue
        measures = ratio.value, ratio.ci_low, ratio.ci_high
        shown = (decimals(value, 4) for value in measures)
        yield "ratio", plain(ratio.name), *shown, ratio.above, ratio.below
