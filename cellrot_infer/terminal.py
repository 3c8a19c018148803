"""What the commands show: tables for a person, plain data for a pipe.

Data goes to stdout; all that is said about it goes to stderr.
"""

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cellrot_infer.differential import (
    Share,
    accepted_counts,
    denominator,
    differential,
    needed_cells,
)
from cellrot_infer.lineages import count_ratios, lineage_shares
from cellrot_infer.outputs import piped_lines
from cellrot_infer.types import FrameRecord, Report
from cellrot_infer.writers.csv import DIFFERENTIAL_COLUMNS, csv_lines
from cellrot_infer.writers.text import shown

BAR_COLUMNS = 24
FILES_SHOWN = 6
NAMES_SHOWN = 5
PATIENCE_S = 2.0  # work that takes longer shows its progress
_EIGHTHS = " ▏▎▍▌▋▊▉"


def note(message: str) -> None:
    """Say one line to the person, beside the data."""
    print(shown(message), file=sys.stderr, flush=True)  # noqa: T201


def emit(text: str) -> None:
    """Write data to stdout; a reader that went away (`| head`) is no failure."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        # Python flushes stdout once more at its end, which must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_table(table: Table) -> None:
    """Print `table`, with colours on a terminal only."""
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as printed:
        console.print(table)
    emit(printed.get())


def show_slide(report: Report, files: Sequence[Path], *, header: bool) -> None:
    """Show what was counted, what failed, what to be wary of, and what was written.

    `header` asks for the names of the columns where the count goes into a pipe.
    """
    for failure in report.failures:
        note(f"failed: {failure.reason}")
    for line in frame_notes(report.frames):
        note(f"warning: {line}")
    if report.frames:
        show_differential(report, header=header)
    for file in files[:FILES_SHOWN]:
        note(f"wrote {file}")
    if len(files) > FILES_SHOWN:
        note(f"wrote {len(files) - FILES_SHOWN} more files beside them")


def show_differential(report: Report, *, header: bool) -> None:
    """Print the differential: a table on a terminal, lines of CSV into a pipe."""
    if sys.stdout.isatty():
        show_table(differential_table(report))
        return
    emit_lines(piped_lines(report), header=header)


def show_before(finished: Sequence[str]) -> None:
    """Show what an earlier part of the run has counted; see `piped_lines`."""
    if not finished:
        return
    slides = "1 slide was" if len(finished) == 1 else f"{len(finished)} slides were"
    note(f"{slides} counted before")
    if not sys.stdout.isatty():
        emit_lines("".join(finished), header=any(finished))


def emit_lines(lines: str, *, header: bool) -> None:
    """Write the lines of a slide into a pipe, with the names of the columns first."""
    names = csv_lines([("slide", *DIFFERENTIAL_COLUMNS)]) if header else ""
    emit(names + lines)


def frame_notes(frames: Sequence[FrameRecord]) -> list[str]:
    """Return the warnings of `frames`, each once, with the frames that it is about."""
    about: dict[str, list[str]] = {}
    for frame in frames:
        for warning in frame.warnings:
            about.setdefault(warning, []).append(frame.name)
    return [f"{_some(names)}: {warning}" for warning, names in about.items()]


def _some(names: Sequence[str]) -> str:
    """Return the first of `names` and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


class LiveCount:
    """The count as it grows: a table kept up to date, or a line a frame into a pipe."""

    def __init__(self, wanted: int) -> None:
        console = Console()
        self._wanted = wanted
        self._is_table = console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, told: str, report: Report, waiting: Sequence[str]) -> None:
        """Show `report`, what was `told` of its last frame, and what is waited for."""
        state = f"{denominator(report)} of {self._wanted} cells"
        if not self._is_table:
            if told:
                note(f"{told}; {state}")
            return
        lines = [state]
        if waiting:
            lines.append(f"waiting for {shown(waiting[0])}, {len(waiting)} in all")
        lines += (shown(failure.reason) for failure in report.failures)
        # the table comes last: a small terminal shows the begin alone
        self._live.update(Group(*map(Text, lines), differential_table(report)))
        self._live.refresh()

    def __enter__(self) -> Self:
        if self._is_table:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class ProgressBar:
    """A bar on stderr that appears once the work has taken two seconds.

    Nothing is shown where stderr is no terminal.
    """

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(
            *columns, console=console, transient=True, redirect_stdout=False
        )
        self._task = self._bar.add_task("", total=total)
        self._appears_s = (
            time.monotonic() + PATIENCE_S if console.is_terminal else math.inf
        )

    def expect(self, steps: int) -> None:
        """Let the bar have so many more steps, or fewer."""
        total = self._bar.tasks[0].total or 0
        self._bar.update(self._task, total=total + steps)

    def advance(self) -> None:
        """Count one step."""
        self._bar.advance(self._task)
        if time.monotonic() > self._appears_s:
            self._bar.start()

    def clear(self) -> None:
        """Take the bar away until the next step, so that other lines can be shown."""
        if self._bar.live.is_started:  # else rich would print an empty line
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def differential_table(report: Report) -> Table:
    """Return the differential as a table that reads at 80 columns."""
    shares = differential(report)
    table = Table(
        title=Text(_title(report)),
        title_justify="left",
        caption=Text(_caption(report)),
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("class", max_width=24, no_wrap=True)
    table.add_column("cells", justify="right")
    table.add_column("%", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("", min_width=BAR_COLUMNS)
    groups = lineage_shares(report)
    widest = max((each.percent or 0.0 for each in (*shares, *groups)), default=0.0)
    for share in shares:
        table.add_row(*_row(share, widest))
    if groups:
        table.add_row()
    for group in groups:
        table.add_row(*_row(group, widest))
    return table


def _title(report: Report) -> str:
    cells, frames = len(report.findings), len(report.frames)
    where = "1 frame" if frames == 1 else f"{frames} frames"
    title = f"{shown(report.name)}: {cells} cells in {where}"
    counted = denominator(report)
    return title if counted == cells else f"{title}, percent of {counted} counted"


def _caption(report: Report) -> str:
    """Return the ratios, and how many more cells a firmer count would take."""
    counts = accepted_counts(report)
    known = {*report.provenance.class_names, *counts}
    ratios = count_ratios(counts, sorted(known), report.scheme)
    lines = [
        f"{shown(ratio.name)} {ratio.value:.2f} ({ratio.ci_low:.2f} to "
        f"{ratio.ci_high:.2f}), cells {ratio.above} : {ratio.below}"
        for ratio in ratios
        if ratio.above + ratio.below
    ]
    needed, points = needed_cells(report), report.scheme.precision_points
    if needed and needed[0]:
        lines.append(
            f"{needed[0]} more cells bring every class to "
            f"+-{points:g} points ({shown(needed[1])} asks for most)"
        )
    return "\n".join(lines)


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
