"""The files of a report: which kinds there are, what each is called."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cellrot_infer.files import write_text
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import cells_csv, differential_csv
from cellrot_infer.writers.json import report_to_json

KINDS = ("csv", "json")
_TEXTS: dict[str, dict[str, Callable[[Report], str]]] = {
    "csv": {"cells.csv": cells_csv, "differential.csv": differential_csv},
    "json": {"json": report_to_json},
}


def write_report(
    report: Report, kinds: Sequence[str], folder: Path, stem: str
) -> list[Path]:
    """Write the files of `kinds` into `folder`, named after `stem`; return them."""
    written = []
    for kind in kinds:
        for ending, view in _TEXTS.get(kind, {}).items():
            path = folder / f"{stem}.{ending}"
            write_text(path, view(report))
            written.append(path)
    return written
