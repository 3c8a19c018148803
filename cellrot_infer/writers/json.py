"""The whole report as JSON: what is written is what is read back.

The form is published in `report.schema.json` beside the package. The same report
always gives the same text, so its SHA-256 names the report.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from cellrot_infer.errors import ReportError
from cellrot_infer.intervals import is_confusion
from cellrot_infer.types import Cell, Report
from cellrot_infer.writers.decode import MismatchError, decoder

SCHEMA_VERSION = 1
MOST_PX = 2**31  # OpenCV counts pixels with 32 bits


def report_to_json(report: Report) -> str:
    """Return `report` as one line of ASCII JSON; ValueError on a number that is none.

    ASCII, because file names may hold what UTF-8 cannot (undecodable bytes).
    """
    values = {"schema_version": SCHEMA_VERSION, **dataclass_fields(report)}
    return json_line(values, default=dataclass_fields)


def json_line(values: object, default: Callable[[object], object] | None = None) -> str:
    """Return `values` as one line of ASCII JSON; ValueError on a number that is none.

    `default` gives what stands for a value that JSON has not. No list may hold itself:
    to look for that at each corner of each outline takes a quarter of the time.
    """
    return json.dumps(
        values,
        separators=(",", ":"),
        allow_nan=False,
        check_circular=False,
        default=default,
    )


def report_sha256(report: Report) -> str:
    """Return the hash that corrections and sign-offs of `report` refer to."""
    return text_sha256(report_to_json(report))


def text_sha256(text: str) -> str:
    """Return the hash of a report from the text that `report_to_json` gives of it."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def report_from_json(text: str, source: str = "report") -> Report:
    """Return the report in `text`; `source` names it in a ReportError."""
    values = _parse(text, source)
    version = values.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"{source}: the report has schema {version!r:.40}, this cellrot reads "
            f"{SCHEMA_VERSION}; update cellrot or analyse the frames again"
        )
    try:
        report: Report = decoder(Report)(values)
    except MismatchError as mismatch:
        raise ReportError(
            f"{source}: {mismatch}; is it a report written by `--report json`?"
        ) from None
    made = report.provenance
    if made.confusion and not is_confusion(made.confusion, len(made.class_names)):
        raise ReportError(
            f"{source}: .provenance.confusion does not count each class against each; "
            "is it a report written by `--report json`?"
        )
    for finding in report.findings:
        if not _fits_an_image(finding.cell):
            raise ReportError(
                f"{source}: cell {finding.number} of {finding.frame!r:.60} is in no "
                "image; is it a report written by `--report json`?"
            )
    return report


def read_report(path: Path) -> Report:
    """Return the report in the JSON file `path`; ReportError where it has none."""
    try:
        return report_from_json(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ReportError(f"{path}: no JSON report (it is no UTF-8 text)") from None


def dataclass_fields(value: object) -> dict[str, Any]:
    """Return what a dataclass holds, by name, for JSON; TypeError for another value."""
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"{value!r:.80} has no place in a report")
    kind: type = type(value)
    return {name: getattr(value, name) for name in _field_names(kind)}


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(kind))


def _fits_an_image(cell: Cell) -> bool:
    """Return whether the cell can be drawn."""
    corners = chain(cell.box.corners, cell.outline)
    return all(abs(part) < MOST_PX for part in chain.from_iterable(corners))


def _parse(text: str, source: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        values = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{source}: no valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise ReportError(f"{source}: no report (expected a JSON object)")
    return values
