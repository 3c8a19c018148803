"""Runs of `cellrot-infer slide` that are killed, and what they leave behind.

A run is a process of its own, in which the clock stands still: so the files of two runs
can be compared byte by byte.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from cellrot_infer.frames import read_image
from cellrot_infer.journal import NAME, Journal
from tests.infer.images import FRAMES

RUN = """
from datetime import datetime
from cellrot_infer import provenance
class Noon(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 1, 12, tzinfo=tz)
provenance.datetime = Noon
{limit}
from cellrot_infer.cli import main
main()
"""
AT_FSYNC = """
import itertools, os
number, fsync = itertools.count(), os.fsync
def faulty(file):
    if next(number) == {number}:
        {fault}
    fsync(file)
os.fsync = faulty
"""
REPORTS = "csv,json,html,geojson,overlay"
SIDE_PX = 150  # around the cell in the middle of a field: quick to count


@dataclass(frozen=True)
class Kill:
    """What a kill left: images in the journal, and frames with files beyond those."""

    kept: int
    unfinished: int


def small_slides(folder: Path, slides: int, frames: int) -> Path:
    """Write `slides` folders of `frames` small frames each into `folder`."""
    fields = sorted((FRAMES / "pbc_fields").glob("*.jpg"))
    for number in range(slides * frames):
        pixels = read_image(fields[number % len(fields)].read_bytes(), "field")
        top, left = ((side - SIDE_PX) // 2 for side in pixels.shape[:2])
        crop = pixels[top : top + SIDE_PX, left : left + SIDE_PX]
        path = folder / f"slide {number // frames}" / f"{number % frames}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return folder


def start(
    inputs: Path, out: Path, model: Path, *options: object, limit: str = ""
) -> subprocess.Popen[str]:
    """Start a run; `limit` is Python that is run first."""
    fixed = "--recursive", "--pixel-size", 0.1, "--threads", 1, "--report", REPORTS
    arguments = "slide", inputs, "--out", out, "--model", model, *fixed, *options
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(limit=limit), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def at_fsync(number: int, fault: str) -> str:
    """Return the limit that has `fault` happen as a file is sent to the disk."""
    return AT_FSYNC.format(number=number, fault=fault)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of a run."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def outputs(out: Path) -> dict[str, bytes]:
    """Return what a run wrote, but for its journal."""
    files = (path for path in out.rglob("*") if path.is_file())
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if name != NAME}


def written_at(out: Path) -> dict[Path, int]:
    """Return when the GeoJSON file of each frame was written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.geojson")}


def kills(
    inputs: Path, out: Path, model: Path, longest_s: float, rng: random.Random
) -> Iterator[Kill]:
    """Run to the end, resuming after each kill -9; yield what each has left."""
    while True:
        process = start(inputs, out, model, "--resume")
        try:
            process.wait(timeout=rng.uniform(0, longest_s))
        except subprocess.TimeoutExpired:
            process.kill()
        status, _, err = finish(process)
        if status == 0:
            return
        if status > 0:  # it ended by itself, and not well
            raise AssertionError(f"exit status {status} after a kill: {err}")
        yield _left(out)


def _left(out: Path) -> Kill:
    if not (out / NAME).exists():
        return Kill(0, 0)
    with Journal(out) as journal:
        kept = journal.images_done()
    counted = len(list(out.rglob("*.overlay.png")))
    return Kill(kept, max(0, counted - kept))


def timed(process: subprocess.Popen[str]) -> tuple[tuple[int, str, str], float]:
    """Return what `finish` does, and how long it took from now."""
    begin = time.monotonic()
    return finish(process), time.monotonic() - begin
