"""What a reviewer put right, taken into the report, with a trail that shows it.

Corrections come as CSV from the HTML report. They belong to one report, which they name
by its hash.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cellrot_infer.audit import extend_trail, read_trail
from cellrot_infer.errors import ReportError
from cellrot_infer.files import write_text
from cellrot_infer.types import Correction, Finding, Report
from cellrot_infer.writers.csv import plain
from cellrot_infer.writers.json import read_report, report_sha256, report_to_json
from cellrot_infer.writers.pagedata import page_labels

COLUMNS = ("frame", "cell", "before", "label", "reviewer", "time", "report_sha256")


def apply_review(
    report_path: Path, corrections_path: Path, folder: Path
) -> tuple[Report, Path, Path]:
    """Write the corrected report and its trail into `folder`; return it and both paths.

    `<name>.audit.jsonl` grows by a line a correction. The same corrections applied
    again write the same report and add nothing.
    """
    report = read_report(report_path)
    content = _read(corrections_path)
    text = _decode(content, corrections_path)
    corrected = correct(report, text, str(corrections_path))
    name = report_path.name.removesuffix(".json").removesuffix(".reviewed")
    written, trail = folder / f"{name}.reviewed.json", folder / f"{name}.audit.jsonl"
    step = {
        "report_sha256": report_sha256(report),
        "corrections_sha256": hashlib.sha256(content).hexdigest(),
        "corrected_sha256": report_sha256(corrected),
    }
    if not any(step.items() <= entry.items() for entry in read_trail(trail)):
        extend_trail(trail, _entries(step, report, corrected))
    write_text(written, report_to_json(corrected))
    return corrected, written, trail


def read_corrections(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the named cells of each row of the table at `path`.

    Raises ReportError where it is no table of corrections.
    """
    return _rows(_decode(_read(path), path), str(path))


def correct(report: Report, corrections: str, source: str = "corrections") -> Report:
    """Return `report` with the CSV text `corrections` taken in.

    A reviewed cell is accepted with a probability of 1 and has no runner-up. Raises
    ReportError, which names `source` and the line, where the corrections are no table,
    were made for another report, or do not fit its cells.
    """
    ours = report_sha256(report)
    # names as the page saves them, which a reader of CSV cannot turn back
    found = {(plain(each.frame), each.number): each for each in report.findings}
    if len(found) < len(report.findings):
        raise ReportError(f"{source}: two frames of the report have the same name")
    offered = set(page_labels(report))
    labels = {plain(label): label for label in offered}
    if len(labels) < len(offered):
        raise ReportError(
            f"{source}: two classes of the report read the same; rename one in the "
            "file for --lineages"
        )
    words: dict[tuple[str, int], Correction] = {}
    for line, row in _rows(corrections, source):
        try:
            _check_report(row["report_sha256"], ours)
            correction = _correction(row, found, labels)
            if (key := (correction.frame, correction.number)) in words:
                raise ValueError(f"a second word on cell {key[1]} of {key[0]!r}")
        except (ValueError, OverflowError) as error:  # a time before the year 1
            raise ReportError(f"{source}, line {line}: {error}") from None
        words[key] = correction
    if not words:
        raise ReportError(f"{source}: holds no corrections")
    return replace(
        report,
        findings=tuple(_reviewed(each, words) for each in report.findings),
        corrections=(*report.corrections, *words.values()),
    )


def _reviewed(finding: Finding, words: Mapping[tuple[str, int], Correction]) -> Finding:
    word = words.get((finding.frame, finding.number))
    if word is None:
        return finding
    return replace(
        finding,
        label=word.label,
        probability=1.0,
        runner_up="",
        runner_up_probability=0.0,
        decision="accepted",
    )


def _correction(
    row: Mapping[str, str],
    found: Mapping[tuple[str, int], Finding],
    labels: Mapping[str, str],
) -> Correction:
    """Return what `row` says; ValueError where it does not fit the report."""
    number = int(row["cell"]) if row["cell"].isdecimal() else 0
    finding = found.get((row["frame"], number))
    if finding is None:
        raise ValueError(f"the report has no cell {row['cell']!r} of {row['frame']!r}")
    if row["before"] != plain(finding.label):
        raise ValueError(f"the cell is {finding.label!r}, not {row['before']!r}")
    if row["label"] not in labels:
        raise ValueError(
            f"{row['label']!r} is no class of the report; to add one, name it in the "
            "file for --lineages"
        )
    if not row["reviewer"].strip():
        raise ValueError("no reviewer is named")
    time = datetime.fromisoformat(row["time"])
    if time.tzinfo is None:
        raise ValueError(f"the time {row['time']!r} has no zone, expected UTC")
    return Correction(
        frame=finding.frame,
        number=number,
        before=finding.label,
        label=labels[row["label"]],
        reviewer=unquoted(row["reviewer"]),
        time=time.astimezone(UTC).isoformat(timespec="seconds"),
    )


def _check_report(named: str, ours: str) -> None:
    if named != ours:
        raise ValueError(
            f"made for the report {named[:12]!r}, and this is {ours[:12]!r}; apply it "
            "to the report that was reviewed"
        )


def _rows(corrections: str, source: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the named cells of each row; ReportError if it is no table."""
    header = corrections.partition("\n")[0]
    # a German spreadsheet saves with semicolons what it read with commas
    delimiter = ";" if header.count(";") > header.count(",") else ","
    table = csv.reader(io.StringIO(corrections, newline=""), delimiter=delimiter)
    try:
        rows = [(table.line_num, cells) for cells in table if cells]
    except csv.Error as error:
        raise ReportError(
            f"{source}, line {table.line_num}: no valid CSV ({error}); save it again "
            "from the HTML report"
        ) from None
    columns = rows.pop(0)[1] if rows else []
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ReportError(
            f"{source}: no table of corrections (it lacks {', '.join(missing)}); "
            "save it from the HTML report"
        )
    if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise ReportError(
            f"{source}: has more than one column {twice[0]}; save it again from the "
            "HTML report"
        )
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ReportError(
                f"{source}, line {line}: {len(cells)} columns, expected "
                f"{len(columns)}; save it again from the HTML report"
            )
        yield line, dict(zip(columns, cells, strict=True))


def _entries(
    step: Mapping[str, str], report: Report, corrected: Report
) -> Iterator[dict[str, Any]]:
    """Yield what the trail says of each correction: who, when, before, after."""
    applied = datetime.now(UTC).isoformat(timespec="seconds")
    found = {(each.frame, each.number): each for each in report.findings}
    for word in corrected.corrections[len(report.corrections) :]:
        before = found[word.frame, word.number]
        yield {
            **step,
            "frame": word.frame,
            "cell": word.number,
            "before": before.label,
            "before_probability": before.probability,
            "before_decision": before.decision,
            "after": word.label,
            "reviewer": word.reviewer,
            "reviewed": word.time,
            "applied": applied,
        }


def unquoted(text: str) -> str:
    """Return the name that `plain` made `text` of."""
    return text[1:] if text.startswith("'") and plain(text[1:]) == text else text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ReportError(f"{path}: is no UTF-8 text; save it as CSV UTF-8") from None
