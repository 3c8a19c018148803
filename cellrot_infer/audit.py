"""A trail of what was done: lines that can be added to but not changed unnoticed.

The file holds one JSON object a line. Each holds the hash of the line before and its
own, so that a changed, exchanged or missing line breaks every hash after it. Lines cut
off at the end leave no such mark: keep the last hash where the trail matters.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellrot_infer.errors import ReportError
from cellrot_infer.files import write_text

START = "0" * 64  # what the first line names as the line before
Entry = Mapping[str, Any]


def read_trail(path: Path) -> list[dict[str, Any]]:
    """Return the entries of the trail at `path`, none where there is no file yet.

    Raises ReportError at the first line that is not what was written.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: cannot be read ({error})") from None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        previous = entries[-1]["sha256"] if entries else START
        if entry is None or entry.get("previous") != previous:
            raise ReportError(
                f"{path}, line {number}: changed, or a line before it is missing; keep "
                "this file as evidence and go on from a copy that is whole"
            )
        entries.append(entry)
    return entries


def check_trail(path: Path) -> tuple[int, str]:
    """Return how many lines the trail at `path` has and the hash of the last.

    Raises ReportError where there is no trail, or a line of it is not what was written.
    """
    if not path.is_file():
        raise ReportError(f"{path}: no such audit trail")
    entries = read_trail(path)
    return len(entries), entries[-1]["sha256"] if entries else START


def extend_trail(path: Path, entries: Iterable[Entry]) -> None:
    """Add `entries` to the trail at `path`; ReportError where the trail is broken."""
    trail = read_trail(path)
    previous = trail[-1]["sha256"] if trail else START
    for entry in entries:
        linked = {**entry, "previous": previous}
        previous = _digest(linked)
        trail.append({**linked, "sha256": previous})
    write_text(path, "".join(f"{_canonical(entry)}\n" for entry in trail))


def _parse(line: str) -> dict[str, Any] | None:
    """Return the entry in `line` if it is whole and its own hash fits."""
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            return None
        content = {key: value for key, value in entry.items() if key != "sha256"}
        return entry if entry.get("sha256") == _digest(content) else None
    except (ValueError, RecursionError):  # deeper than any entry
        return None


def _digest(content: Entry) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(entry: Entry) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))
