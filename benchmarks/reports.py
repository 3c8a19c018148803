"""What reports cost: time to write, size, and how fast the page answers.

    python -m benchmarks.reports [--out benchmarks/results/reports.json]

Slides are made of the real samples in tests/data, several times over. Writers are
measured in processor time, which other work on the machine hardly changes. The page is
measured in Chromium where there is one: the first paint after the file is opened, and
for each of 40 keys that name a class the time until script and layout are done and
until the next frame is painted; other work on the machine is in these. Figures in
seconds hold for the machine that is named beside them; sizes hold everywhere.

What reports are of a run is measured as a share: slides are counted without any report
and with all of them, in turns, as `cellrot-infer slide` does it. Camera frames are made
of the test samples, 40 cells each; BCCD's frames show one cell each. The share of the
processor counts all threads; that of the time is what a person waits.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.screenshot import mosaics
from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Request
from cellrot_infer.files import make_folder, write_bytes, write_text
from cellrot_infer.journal import Journal
from cellrot_infer.lineages import read_scheme
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.outputs import KINDS
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run
from cellrot_infer.slides import find_slides
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import cells_csv, differential_csv
from cellrot_infer.writers.geojson import frame_to_geojson
from cellrot_infer.writers.html import report_to_html, size_limit, write_html
from cellrot_infer.writers.json import report_from_json, report_sha256, report_to_json
from cellrot_infer.writers.overlay import overlay_png
from cellrot_infer.writers.summary import summary_csv
from cellrot_infer.writers.thumbnail import preview, thumbnail
from tests.e2e.browser import Page, chromium
from tests.infer.slides import frame_of, patch_of, slide

RESULT = Path(__file__).parent / "results" / "reports.json"
KEYS = 40
ROUNDS = 5
BCCD = Path(__file__).parents[1] / "tests" / "data" / "frames" / "bccd"
TABLES = cells_csv, differential_csv, summary_csv
# Gives the milliseconds from a key to the end of script and layout, and to the frame
# that shows its effect.
KEYSTROKE = """
const done = arguments[arguments.length - 1];
const begin = performance.now();
gallery.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}));
document.body.getBoundingClientRect();
const laidOut = performance.now() - begin;
const painted = () => done([laidOut, performance.now() - begin]);
requestAnimationFrame(() => setTimeout(painted));
"""
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULT)
    out: Path = parser.parse_args().out
    runs = list(shares_of_runs())
    rows = [{**writing(slide(cells)), **reading(slide(cells))} for cells in (500, 5000)]
    make_folder(out.parent)
    machine = f"{platform.machine()}, {platform.platform()}, {os.cpu_count()} cores"
    result = {"machine": machine, "runs": runs, "rows": rows}
    write_text(out, json.dumps(result, indent=2) + "\n")
    for table in (runs, rows):
        for key in table[0]:
            print(f"{key:34s}" + "".join(f"{row[key]!s:>15.15}" for row in table))


def shares_of_runs() -> Iterator[dict[str, Any]]:
    """Yield for each kind of slide what share of its run goes into reports."""
    classifier = Classifier.load(DEFAULT_MODEL, device="cpu", threads=1)
    with tempfile.TemporaryDirectory() as place:
        cameras = Path(place) / "camera frames"
        cameras.mkdir()
        for number, frame in enumerate(mosaics() * 5):
            _, data = cv2.imencode(".jpg", frame.pixels[..., ::-1])
            write_bytes(cameras / f"{number}.jpg", data.tobytes())
        for folder in filter(Path.is_dir, (cameras, BCCD)):
            yield share_of_run(folder, classifier)


def share_of_run(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Return the share of reports in the run on the slide `folder`."""
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for turn in range(2 * ROUNDS):
        with tempfile.TemporaryDirectory() as out:  # cleared away off the clock
            begin = time.perf_counter(), time.process_time()
            report = run_once(folder, Path(out), classifier, KINDS if turn % 2 else ())
            spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
        times[bool(turn % 2)].append(spent)
    (bare_s, bare_cpu_s), (full_s, full_cpu_s) = (
        map(min, zip(*times[reports], strict=True)) for reports in (False, True)
    )
    return {
        "slide": folder.name,
        "frames": len(report.frames),
        "cells": len(report.findings),
        "share_of_processor": 1 - bare_cpu_s / full_cpu_s,
        "share_of_time": 1 - bare_s / full_s,
        "run_s": full_s,
    }


def run_once(
    folder: Path, out: Path, classifier: Classifier, kinds: Sequence[str]
) -> Report:
    """Count the slide `folder` as the command does, with its reports in `out`."""
    request = Request(kinds, out, read_scheme())
    slides = find_slides([folder])
    with Journal(out) as journal:
        left = take_up(journal, request, slides, DEFAULT_MODEL)
        ((report, _),) = Run(classifier, request, journal, slides).count(left)
    return report


def writing(report: Report) -> dict[str, float]:
    """Return seconds and megabytes of every view of `report`."""
    cells = len(report.findings)
    patches = [patch_of(index) for index in range(374)]
    frame = frame_of(report, report.frames[0].name)
    text = report_to_json(report)
    thumbnails_s = seconds(lambda: [thumbnail(patch) for patch in patches]) / 374
    images = pictures(report)
    return {
        "cells": cells,
        "frames": len(report.frames),
        "thumbnail_ms_a_cell": 1e3 * thumbnails_s,
        "preview_ms_a_frame": 1e3 * seconds(lambda: preview(frame.pixels)),
        "overlay_ms_a_frame": 1e3 * seconds(lambda: overlay_png(report, frame)),
        "csv_s": seconds(lambda: [view(report) for view in TABLES]),
        "json_s": seconds(lambda: report_to_json(report)),
        "json_read_s": seconds(lambda: report_from_json(text)),
        "json_mb": len(text) / 1e6,
        "geojson_s": seconds(
            lambda: [frame_to_geojson(report, each) for each in report.frames]
        ),
        "html_s": seconds(
            lambda: report_to_html(report, report_sha256(report), images, {})
        ),
    }


def reading(report: Report) -> dict[str, Any]:
    """Return the size of the page, and how fast it opens and answers in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_html(report, pictures(report), path, previews=previews(report))
        megabytes = path.stat().st_size / 1e6
        assert megabytes < size_limit(len(report.findings)) / 1e6
        return {"html_mb": megabytes, **_in_browser(path)}


def _in_browser(path: Path) -> dict[str, Any]:
    try:
        with chromium(path.parent) as browser:
            page = Page(browser, path.parent)
            page.open(path)
            paint_ms = min(_first_paint_ms(page) for _ in range(5))
            page.press("?")  # the gallery has the focus, and the help is open
            page.find("#help-close").click()
            keys = [
                browser.execute_async_script(KEYSTROKE, "mlebs"[number % 5])
                for number in range(KEYS)
            ]
            tiles = len(page.all(".tile"))
    except pytest.skip.Exception as skipped:
        return {"browser": str(skipped)}
    return {
        "first_paint_ms": paint_ms,
        "key_to_layout_ms_median": statistics.median(key[0] for key in keys),
        "key_to_paint_ms_median": statistics.median(key[1] for key in keys),
        "tiles_in_the_document": tiles,
    }


def _first_paint_ms(page: Page) -> float:
    page.reload()
    return float(page.run(PAINT))


def pictures(report: Report) -> dict[tuple[str, int], bytes]:
    """Return a thumbnail a cell."""
    found = enumerate(report.findings)
    return {(f.frame, f.number): thumbnail(patch_of(index)) for index, f in found}


def previews(report: Report) -> dict[str, bytes]:
    """Return the preview of each of the first frames; a slide repeats them."""
    known = [preview(frame_of(report, f.name).pixels) for f in report.frames[:10]]
    return {f.name: known[k % len(known)] for k, f in enumerate(report.frames)}


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of several times of the processor."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


if __name__ == "__main__":
    main()
