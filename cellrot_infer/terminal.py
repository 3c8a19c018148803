"""What the commands show: a table for a person, plain data for a pipe."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cellrot_infer.differential import Share, denominator, differential
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import differential_csv
from cellrot_infer.writers.text import shown

BAR_COLUMNS = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


def note(message: str) -> None:
    """Print one line for the person, beside the data."""
    print(shown(message), file=sys.stderr)  # noqa: T201


def show_differential(report: Report) -> None:
    """Print the differential: a table on a terminal, CSV into a pipe."""
    if sys.stdout.isatty():
        Console(width=None).print(differential_table(report))
    else:
        sys.stdout.write(differential_csv(report))


def differential_table(report: Report) -> Table:
    """Return the differential as a table that reads at 80 columns."""
    shares = differential(report)
    table = Table(
        title=Text(_title(report)),
        box=None,
        title_justify="left",
    )
    table.add_column("class", max_width=24, no_wrap=True)
    table.add_column("cells", justify="right")
    table.add_column("%", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("", min_width=BAR_COLUMNS)
    widest = max((share.percent or 0.0 for share in shares), default=0.0)
    for share in shares:
        table.add_row(*_row(share, widest))
    return table


def _title(report: Report) -> str:
    cells, frames = len(report.findings), len(report.frames)
    title = f"{shown(report.name)}: {cells} cells in {frames} frames"
    counted = denominator(report)
    return title if counted == cells else f"{title}, percent of {counted} counted"


def _row(share: Share, widest: float) -> tuple[Text, ...]:
    style = "dim" if not share.count else ""
    if share.percent is None:
        measures = ("", "not counted", "")
    else:
        measures = (
            f"{share.percent:.1f}",
            f"{share.ci_low:.1f} to {share.ci_high:.1f}",
            bar(share.percent / widest if widest else 0.0),
        )
    cells = (shown(share.label), str(share.count), *measures)
    return tuple(Text(cell, style) for cell in cells)


def bar(fraction: float, columns: int = BAR_COLUMNS) -> str:
    """Return a bar of blocks, an eighth of a column fine."""
    whole, eighths = divmod(round(fraction * columns * 8), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()
