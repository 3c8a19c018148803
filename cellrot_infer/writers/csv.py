"""A report as tables: a line a cell, the differential count, and what follows from it.

UTF-8, one header line, `.` as decimal point unless a style asks otherwise. Columns may
be added at the end, never renamed.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

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
Row = Sequence[str | int | Decimal]  # a Decimal knows how many digits it shows


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """How a spreadsheet of some country reads a table; `mark` begins the file."""

    delimiter: str
    decimal: str
    mark: str


ENGLISH = CsvStyle(",", ".", "")
# Excel takes a file for UTF-8 only when it begins with a byte order mark.
GERMAN = CsvStyle(";", ",", "\ufeff")
STYLES = {"en": ENGLISH, "de": GERMAN}
# What a spreadsheet takes for the start of a formula, also in full width.
_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def cells_csv(report: Report, style: CsvStyle = ENGLISH) -> str:
    """Return a line a cell; areas in square micrometres, boxes in pixels."""
    return csv_file([CELL_COLUMNS, *map(_cell_row, report.findings)], style)


def differential_csv(report: Report, style: CsvStyle = ENGLISH) -> str:
    """Return a line a class; percentages are of all cells counted.

    A class that is not counted, such as platelets, has no percentage.
    """
    return csv_file([DIFFERENTIAL_COLUMNS, *differential_rows(report)], style)


def differential_rows(report: Report) -> list[Row]:
    """Return the lines of `differential_csv` as values."""
    return [
        (
            plain(share.label),
            share.count,
            decimals(share.percent, 2),
            decimals(share.ci_low, 2),
            decimals(share.ci_high, 2),
        )
        for share in differential(report)
    ]


def plain(text: str) -> str:
    """Return `text` on one line, so that no spreadsheet runs it as a formula."""
    line = shown(text)
    return f"'{line}" if line.lstrip(" ").startswith(_FORMULA_STARTS) else line


def _cell_row(finding: Finding) -> Row:
    box = finding.cell.box
    return (
        plain(finding.frame),
        finding.number,
        box.x_px,
        box.y_px,
        box.width_px,
        box.height_px,
        decimals(finding.cell.area_um2, 2),
        decimals(finding.cell.nucleus_area_um2, 2),
        plain(finding.label),
        decimals(finding.probability, 4),
        plain(finding.runner_up),
        decimals(finding.runner_up_probability, 4),
        finding.decision,
    )


def decimals(value: float | None, digits: int) -> Decimal | str:
    """Return `value` with so many digits after the point, nothing for None."""
    return "" if value is None else Decimal(f"{value:.{digits}f}")


def csv_file(rows: Iterable[Row], style: CsvStyle = ENGLISH) -> str:
    """Return `rows` as a file of CSV for the spreadsheet of `style`."""
    return style.mark + csv_lines(rows, style)


def csv_lines(rows: Iterable[Row], style: CsvStyle = ENGLISH) -> str:
    """Return `rows` as lines of CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=style.delimiter, lineterminator="\n")
    writer.writerows([_shown(value, style) for value in row] for row in rows)
    return text.getvalue()


def _shown(value: str | int | Decimal, style: CsvStyle) -> str | int:
    if isinstance(value, Decimal):
        return str(value).replace(".", style.decimal)
    return value
