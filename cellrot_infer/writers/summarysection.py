"""Beside the count in the HTML report: lineages, ratios, cells still needed."""

import math
from collections import Counter
from html import escape

from cellrot_infer.differential import (
    Share,
    accepted_counts,
    denominator,
    needed_cells,
    share_of,
)
from cellrot_infer.lineages import OTHER, Ratio, count_ratios, lineage_shares
from cellrot_infer.types import RatioRule, Report
from cellrot_infer.writers.markup import percent_range, ratio_text, readable, text
from cellrot_infer.writers.pagedata import page_labels
from cellrot_infer.writers.text import shown

LINEAGE = """<li data-lineage="{key}"{hidden}><span>{name}</span>
<span data-field="count">{count}</span>
<span data-field="percent">{percent:.1f} %</span>
<small data-field="interval">{interval}</small></li>"""
RATIO = """<div class="ratio" data-ratio="{index}"><div>{name}</div>
<strong data-field="value">{value}</strong>
<small{hidden}><span data-field="interval">{low} to {high}</span>, cells
<span data-field="sides">{above} : {below}</span></small></div>"""
PRECISION = """<div class="precision"><h3>Precision</h3><p>
<label>For every class found to stay within &plusmn;
<input id="points" type="number" min="0.1" max="50" step="0.1" value="{points:g}">
</label>
points, <span id="further">{answer}</span></p></div>"""


def summary_section(report: Report) -> str:
    """Return lineages, ratios and precision as HTML."""
    blocks = _lineages(report) + _ratios(report, accepted_counts(report))
    return f'<div class="summary">{blocks}{_precision(report)}</div>'


def _lineages(report: Report) -> str:
    found = {share.label: share for share in lineage_shares(report)}
    none = share_of("", 0, denominator(report))
    order = (*(lineage.name for lineage in report.scheme.lineages), OTHER)
    items = "\n".join(
        LINEAGE.format(
            key=escape(shown(name)),
            hidden="" if name in found else " hidden",
            name=text(name),
            count=found.get(name, none).count,
            percent=found.get(name, none).percent,
            interval=_interval(found.get(name, none)),
        )
        for name in order
    )
    empty = f'<p id="no-lineage"{" hidden" if found else ""}>no cells</p>'
    return (
        f"<div><h3>Lineages and groups, with 95 % interval</h3><ul>{items}</ul>"
        f"{empty}</div>"
    )


def _interval(share: Share) -> str:
    return percent_range(share.ci_low or 0.0, share.ci_high or 0.0)


def _ratios(report: Report, accepted: Counter[str]) -> str:
    rules = report.scheme.ratios
    known = page_labels(report)
    found = {each.name: each for each in count_ratios(accepted, known, report.scheme)}
    items = [
        _ratio(index, found.get(rule.name) or _empty(rule))
        for index, rule in enumerate(rules)
    ]
    title = "<h3>Ratios, with 95 % interval</h3>"
    return f"<div>{title}{''.join(items)}</div>" if items else ""


def _ratio(index: int, ratio: Ratio) -> str:
    return RATIO.format(
        index=index,
        name=text(ratio.name),
        value=ratio_text(ratio.value),
        low=ratio_text(ratio.ci_low),
        high=ratio_text(ratio.ci_high),
        above=ratio.above,
        below=ratio.below,
        hidden="" if ratio.above + ratio.below else " hidden",
    )


def _empty(rule: RatioRule) -> Ratio:
    return Ratio(rule.name, 0, 0, math.nan, 0.0, math.inf)


def _precision(report: Report) -> str:
    needed = needed_cells(report)
    if needed is None:
        answer = "a class must first be found."
    elif needed[0]:
        name = escape(readable(needed[1]))
        answer = f"about {needed[0]} more cells are needed ({name})."
    else:
        answer = "this count is enough."
    return PRECISION.format(points=report.scheme.precision_points, answer=answer)
