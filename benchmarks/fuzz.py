"""Hostile files in great number: how many were given to what, and what came of them.

    python -m benchmarks.fuzz [--cases 200000] [--minutes 90] [--only NAME] [--out FILE]

Each target of `tests/fuzz.py` reads its cases in a process of its own, so that one that
dies is told as a fault too; its last case then lies in the folder that is named. The
same numbers give the same cases.
"""

import argparse
import faulthandler
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisWarning

from cellrot_infer.files import make_folder, write_text
from tests.fuzz import survives, targets

RESULT = Path(__file__).parent / "results" / "fuzz.json"
CHUNK = 2_000  # cases that hypothesis tells apart from each other, in memory
PATIENCE_S = 60  # a case that takes longer hangs
LIBRARIES = "opencv-python", "onnxruntime-gpu", "hypothesis"


def main() -> None:
    """Give every target its share of the cases, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--minutes", type=float, default=90, help="of all targets")
    parser.add_argument("--only", help="one target; the rows of the others stay")
    parser.add_argument("--target", help="one target only, told as one line of JSON")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    if asked.target:
        folder = Path(tempfile.mkdtemp(prefix="cellrot-fuzz-"))
        row = attack(asked.target, asked.cases, 60 * asked.minutes, folder)
        print(json.dumps(row))
        return
    rows = {row["target"]: row for row in _known(asked.out)} if asked.only else {}
    for name, target in targets().items():
        if asked.only in (None, name):
            cases, minutes = target.share * asked.cases, target.share * asked.minutes
            rows[name] = _in_process(name, round(cases), minutes)
            _report(list(rows.values()), asked.out)
    sys.exit(any(row["faults"] for row in rows.values()))


def _known(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["targets"]
    return rows


def attack(name: str, cases: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Return how many of `cases` files the target read and refused, and its faults."""
    target = targets()[name]
    begin = time.monotonic()
    row: dict[str, Any] = {"target": name, "read": 0, "refused": 0, "faults": []}
    slowest_s = 0.0

    def one(content: bytes) -> None:
        nonlocal slowest_s
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        start = time.monotonic()
        row["read" if survives(target, content, folder / "case") else "refused"] += 1
        slowest_s = max(slowest_s, time.monotonic() - start)

    for number, first in enumerate(range(0, cases, CHUNK)):
        if row["faults"] or time.monotonic() - begin > seconds:
            break
        check = seed(number)(_many(min(CHUNK, cases - first))(given(target.cases)(one)))
        with warnings.catch_warnings(action="error"):
            warnings.simplefilter("ignore", HypothesisWarning)  # long cases are meant
            try:
                check()
            except Exception:  # whatever it is, it is what we look for
                row["faults"].append(_shortened(traceback.format_exc()))
    faulthandler.cancel_dump_traceback_later()
    return row | {"seconds": time.monotonic() - begin, "slowest_s": slowest_s}


def _shortened(text: str) -> str:
    return text if len(text) < 8000 else f"{text[:4000]} ... {text[-4000:]}"


def _many(cases: int) -> settings:
    return settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def _in_process(name: str, cases: int, minutes: float) -> dict[str, Any]:
    arguments = "--target", name, "--cases", str(cases), "--minutes", str(minutes)
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode:
        fault = f"the process ended with {run.returncode}: {run.stderr[-4000:]}"
        return {"target": name, "read": 0, "refused": 0, "faults": [fault]}
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _report(rows: list[dict[str, Any]], out: Path) -> None:
    cases = sum(row["read"] + row["refused"] for row in rows)
    result = {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "cases": cases,
        "faults": sum(len(row["faults"]) for row in rows),
        "targets": rows,
    }
    make_folder(out.parent)
    write_text(out, json.dumps(result, indent=2) + "\n")
    row = rows[-1]
    print(f"{row['target']:18s}{row['read']:9d} read{row['refused']:9d} refused")
    print(*row["faults"], sep="\n", end="")
    print(f"{cases} cases, {result['faults']} faults so far", flush=True)


if __name__ == "__main__":
    main()
