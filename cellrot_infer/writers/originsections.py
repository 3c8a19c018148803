"""Where the HTML report comes from: facts, warnings, fields and provenance."""

from collections import Counter
from collections.abc import Iterable
from html import escape

from cellrot_infer.types import FrameRecord, PixelSize, Report
from cellrot_infer.writers.markup import hash_text, readable, text
from cellrot_infer.writers.text import shown

OPEN_FIELDS = 12  # more of them fold away
NAMES_SHOWN = 12
FIELDS = """<section id="quality" aria-labelledby="quality-title">
<h2 id="quality-title">Fields</h2>
<details{is_open}><summary>{count} in all, {warned} with a warning</summary>
<div class="scroll" role="region" tabindex="0" aria-label="Table of fields">
<table><thead><tr><th scope="col">Frame</th><th scope="col" class="number">Cells</th>
<th scope="col">Size</th><th scope="col">Pixel size</th><th scope="col">Warnings</th>
<th scope="col">SHA-256</th></tr></thead><tbody>
{rows}
</tbody></table></div></details></section>"""
FIELD = """<tr{warned}><th scope="row">{name}</th><td class="number">{cells}</td>
<td>{width} &times; {height}</td><td>{pixel_size}</td><td>{warnings}</td>
<td>{digest}</td></tr>"""
PROVENANCE = """<section id="provenance" aria-labelledby="provenance-title">
<h2 id="provenance-title">Provenance</h2>
<dl>
{entries}
</dl></section>"""


def facts(report: Report) -> str:
    """Return the line under the title."""
    cells, frames = len(report.findings), len(report.frames)
    created = report.provenance.created.replace("T", " ").removesuffix("+00:00")
    return (
        f"{cells} cells in {frames} {'frame' if frames == 1 else 'frames'}, "
        f"model {text(report.provenance.model)}, {text(created)} UTC"
    )


def notices(report: Report) -> str:
    """Return what the reader must know before any number: failures and warnings."""
    lines = [
        f"{text(failure.path)} could not be analysed: {text(failure.reason)}"
        for failure in report.failures
    ]
    if warned := _warned(report):
        names = ", ".join(text(frame.name) for frame in warned[:NAMES_SHOWN])
        more = len(warned) - NAMES_SHOWN
        lines.append(
            f"{len(warned)} of {len(report.frames)} frames have a warning, look at "
            f"them before you trust the count: {names}"
            f"{f' and {more} more' if more > 0 else ''}; "
            '<a href="#quality">Fields</a> says why.'
        )
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<div class="notice"><ul>{items}</ul></div>' if lines else ""


def fields_section(report: Report) -> str:
    """Return the frames with their scale and their warnings, these first."""
    cells = Counter(finding.frame for finding in report.findings)
    warned = _warned(report)
    rest = [frame for frame in report.frames if not frame.warnings]
    return FIELDS.format(
        is_open=" open" if warned or len(report.frames) <= OPEN_FIELDS else "",
        count=len(report.frames),
        warned=len(warned),
        rows="\n".join(_field(frame, cells[frame.name]) for frame in warned + rest),
    )


def provenance_section(report: Report, digest: str) -> str:
    """Return what it takes to get the report with the hash `digest` again."""
    origin = report.provenance
    entries = {
        "Model": text(origin.model),
        "Model SHA-256": hash_text(origin.model_sha256),
        "Classes": ", ".join(text(readable(name)) for name in origin.class_names),
        "Ran on": text(origin.provider),
        "Settings": _pairs(origin.settings),
        "Versions": _pairs(origin.versions),
        "Created": text(origin.created),
        "Report SHA-256": hash_text(digest),
        "Reviewed cells": str(len(report.corrections)),
    }
    rows = (f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in entries.items())
    return PROVENANCE.format(entries="\n".join(rows))


def _warned(report: Report) -> list[FrameRecord]:
    return [frame for frame in report.frames if frame.warnings]


def _field(frame: FrameRecord, cells: int) -> str:
    return FIELD.format(
        warned=' class="warned"' if frame.warnings else "",
        name=text(frame.name),
        cells=cells,
        width=frame.width_px,
        height=frame.height_px,
        pixel_size=_pixel_size(frame.pixel_size),
        warnings="; ".join(map(text, frame.warnings)) or "none",
        digest=hash_text(frame.sha256),
    )


def _pixel_size(size: PixelSize) -> str:
    spread = f" &plusmn; {100 * size.spread:.0f} %" if size.spread else ""
    return f"{size.um:.4g} &micro;m{spread}, from {escape(shown(size.source))}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{text(key)} {text(value)}" for key, value in pairs) or "none"
