"""What follows from the count, as one table: lineages, ratios, doubt, precision.

Each line is a measure with its 95 % interval; `cells` of `of` cells went into it.
"""

from collections.abc import Iterator

from cellrot_infer.differential import (
    accepted_counts,
    denominator,
    needed_cells,
)
from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.intervals import wilson
from cellrot_infer.lineages import count_ratios, lineage_counts
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import ENGLISH, CsvStyle, Row, csv_file, decimals, plain

COLUMNS = ("measure", "name", "value", "ci_low", "ci_high", "cells", "of")
PRECISION_POINTS = 2.0  # half of an interval, in percentage points


def summary_csv(report: Report, style: CsvStyle = ENGLISH) -> str:
    """Return the measures that follow from the count, a line each.

    `counted` says how many of all cells are in the denominator. `lineage` and
    `class with confusion` are percentages; the latter carries the classifier's own
    confusion. `ratio` is the number of cells above for each cell below.
    `further cells` brings every class found to the precision that it names.
    """
    return csv_file([COLUMNS, *_rows(report)], style)


def _rows(report: Report) -> Iterator[Row]:
    total = denominator(report)
    yield "counted", "all", "", "", "", total, len(report.findings)
    for name, count in lineage_counts(accepted_counts(report), report.scheme).items():
        share = 100 * count / total if total else 0.0
        ends = (decimals(100 * end, 2) for end in wilson(count, total))
        yield "lineage", plain(name), decimals(share, 2), *ends, count, total
    yield from _ratios(report)
    for label, interval in confusion_intervals(report).items():
        ends = (decimals(100 * end, 2) for end in interval)
        yield "class with confusion", plain(label), "", *ends, "", ""
    if needed := needed_cells(report, PRECISION_POINTS / 100):
        name = f"{plain(needed[1])} within {PRECISION_POINTS:g} points"
        yield "further cells", name, needed[0], "", "", "", total


def _ratios(report: Report) -> Iterator[Row]:
    counts = accepted_counts(report)
    known = {*report.provenance.class_names, *counts}
    for ratio in count_ratios(counts, sorted(known), report.scheme):
        if ratio.above + ratio.below == 0:
            continue
        measures = ratio.value, ratio.ci_low, ratio.ci_high
        shown = (decimals(value, 4) for value in measures)
        yield "ratio", plain(ratio.name), *shown, ratio.above, ratio.below
