"""The count of the HTML report: table and chart in one, and what they are a part of.

The script of the page keeps the same numbers up to date during a review; without it
they stand as they are here.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from cellrot_infer.differential import Share, denominator, differential, row_counts
from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.intervals import wilson
from cellrot_infer.types import UNDECIDED as UNDECIDED_ROWS
from cellrot_infer.types import Report
from cellrot_infer.writers.markup import percent_range, readable, swatch, text
from cellrot_infer.writers.pagedata import page_labels
from cellrot_infer.writers.palette import UNDECIDED, class_colours, hex_colour
from cellrot_infer.writers.summarysection import summary_section

TABLE = """<section id="differential" aria-labelledby="differential-title">
<h2 id="differential-title">Differential</h2>
<div class="columns"><div>
<table class="differential"><thead><tr><th scope="col">Class</th>
<th scope="col" class="number">Cells</th><th scope="col" class="number">%</th>
<th scope="col" class="number">95 % interval</th>
<th scope="col" class="chart"><span class="scale"><span>0</span>
<span id="scale">{scale} %</span></span></th>
<th scope="col" class="number as-analysed">with the classifier&rsquo;s
own&nbsp;confusion</th></tr></thead><tbody>
{rows}
</tbody></table>
{notes}
</div>
{summary}
</div></section>"""
ROW = """<tr data-row="{index}"{attributes}><th scope="row">{swatch}{name}</th>
<td class="number" data-field="count">{count}</td>
<td class="number" data-field="percent">{percent}</td>
<td class="number" data-field="interval">{interval}</td>
<td class="chart">{chart}</td>
<td class="number as-analysed">{carried}</td></tr>"""
CHART = """<svg viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
<path class="grid" d="M0 0V24M25 0V24M50 0V24M75 0V24M100 0V24"/>
<rect data-field="bar" y="6" height="12" width="{width:.2f}" fill="{colour}"/>
<path class="whisker casing" d="{whisker}"/>
<path class="whisker" d="{whisker}"/></svg>"""
CARRIED = (
    "The last column also carries how often the model took one class for another when "
    "it was validated. It counts cells in doubt by their first choice, and holds as "
    "far as this slide resembles the validation images."
)
NOT_CARRIED = (
    "The model&rsquo;s card does not tell its confusion: no interval carries it."
)


class Row(NamedTuple):
    """A row of the table; `offered` are classes that the model does not know."""

    place: int
    share: Share
    colour: str
    undecided: bool
    offered: bool


def count_section(report: Report) -> str:
    """Return the differential as a section of HTML."""
    rows = list(_rows(report))
    ends = [row.share.ci_high or 0 for row in rows if row.share.count]
    scale = max(10, 10 * math.ceil(max(ends, default=0) / 10))
    intervals = {
        label: percent_range(100 * low, 100 * high)
        for label, (low, high) in confusion_intervals(report).items()
    }
    return TABLE.format(
        scale=scale,
        rows="\n".join(_row(row, scale, intervals) for row in rows),
        notes=_notes(report),
        summary=summary_section(report),
    )


def _rows(report: Report) -> Iterator[Row]:
    """Yield a row for each label that the page may need, undecided ones last."""
    shares = {share.label: share for share in differential(report)}
    colours, labels = class_colours(report), page_labels(report)
    none = 100 * wilson(0, denominator(report)).high
    for place, label in enumerate((*labels, *UNDECIDED_ROWS)):
        is_counted = label not in report.scheme.excluded
        absent = (0.0, 0.0, none) if is_counted else (None, None, None)
        undecided = place >= len(labels)
        yield Row(
            place,
            shares.get(label, Share(label, 0, *absent)),
            hex_colour(UNDECIDED if undecided else colours.get(label, UNDECIDED)),
            undecided,
            not undecided and label not in report.provenance.class_names,
        )


def _row(row: Row, scale: int, intervals: dict[str, str]) -> str:
    label, count, percent, low, high = _values(row.share)
    counted = row.share.percent is not None
    return ROW.format(
        index=row.place,
        attributes=_attributes(row),
        swatch=swatch(row.colour),
        name=text(readable(label)) if row.undecided else _link(row.place, label),
        count=count,
        percent=f"{percent:.1f}" if counted else "",
        interval=percent_range(low, high) if counted else "not counted",
        chart=_chart(row, scale) if counted else "",
        carried="" if row.undecided else intervals.get(label, ""),
    )


def _values(share: Share) -> tuple[str, int, float, float, float]:
    ends = share.percent or 0.0, share.ci_low or 0.0, share.ci_high or 0.0
    return share.label, share.count, *ends


def _attributes(row: Row) -> str:
    attributes = ' class="undecided"' if row.undecided else ""
    if row.offered:
        attributes += " data-offered" + ("" if row.share.count else " hidden")
    return attributes


def _link(place: int, label: str) -> str:
    name = text(readable(label))
    return f'<button type="button" class="link" data-show="{place}">{name}</button>'


def _chart(row: Row, scale: int) -> str:
    _, _, percent, low, high = _values(row.share)
    left, right = 100 * low / scale, min(100, 100 * high / scale)
    whisker = f"M{left:.2f} 12H{right:.2f}"
    return CHART.format(width=100 * percent / scale, colour=row.colour, whisker=whisker)


def _notes(report: Report) -> str:
    counts = row_counts(report)
    left_out = [label for label in report.scheme.excluded if counts[label]]
    names = ", ".join(text(readable(label)) for label in left_out)
    without = f" Not counted: {names}." if names else ""
    carried = CARRIED if report.provenance.confusion else NOT_CARRIED
    return (
        f'<p class="footnote">Percentages are of <span id="denominator">'
        f"{denominator(report)}</span> cells, uncertain and unknown ones among them."
        f"{without} The intervals are Wilson&rsquo;s.</p>"
        f'<p class="footnote carried">{carried} <span id="edited-note" hidden>It shows '
        "the count before this review; <code>cellrot-infer review apply</code> brings "
        "it up to date.</span></p>"
    )
