"""A report as two tables: a line a cell, and the differential count.

UTF-8, one header line, `.` as decimal point. Columns may be added at the end, never
renamed.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from cellrot_infer.differential import differential
from cellrot_infer.types import Finding, Report
from cellrot_infer.writers.text import shown

CELL_COLUMNS = (
    "frame",
    "cell",
    "x_px",
    "y_px",
    "width_px",
    "height_px",
    "area_um2",
    "nucleus_area_um2",
    "label",
    "probability",
    "runner_up",
    "runner_up_probability",
    "decision",
)
DIFFERENTIAL_COLUMNS = ("label", "count", "percent", "ci_low", "ci_high")
# What a spreadsheet takes for the start of a formula, also in full width.
_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def cells_csv(report: Report) -> str:
    """Return a line a cell; areas in square micrometres, boxes in pixels."""
    return csv_lines([CELL_COLUMNS, *map(_cell_row, report.findings)])


def differential_csv(report: Report) -> str:
    """Return a line a class; percentages are of all cells counted.

    A class that is not counted, such as platelets, has no percentage.
    """
    return csv_lines([DIFFERENTIAL_COLUMNS, *differential_rows(report)])


def differential_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the lines of `differential_csv` as values."""
    return [
        (
            plain(share.label),
            str(share.count),
            _decimals(share.percent),
            _decimals(share.ci_low),
            _decimals(share.ci_high),
        )
        for share in differential(report)
    ]


def plain(text: str) -> str:
    """Return `text` on one line, so that no spreadsheet runs it as a formula."""
    line = shown(text)
    return f"'{line}" if line.lstrip(" ").startswith(_FORMULA_STARTS) else line


def _cell_row(finding: Finding) -> tuple[object, ...]:
    box = finding.cell.box
    return (
        plain(finding.frame),
        finding.number,
        box.x_px,
        box.y_px,
        box.width_px,
        box.height_px,
        f"{finding.cell.area_um2:.2f}",
        f"{finding.cell.nucleus_area_um2:.2f}",
        plain(finding.label),
        f"{finding.probability:.4f}",
        plain(finding.runner_up),
        f"{finding.runner_up_probability:.4f}",
        finding.decision,
    )


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return `rows` as lines of CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
