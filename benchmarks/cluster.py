"""What a cluster costs beside the counting, and whether it changes a report.

    python -m benchmarks.cluster [--tiles 1000] [--workers 8] [--out FILE]

The tiles are the frames of tests/data, again and again. A worker process of this
machine counts them for a Dask scheduler. The overhead is the part of the worker's time
in which it did not count, measured by the scheduler's own record of the tasks: both
are of one run, so that other work on the machine is in both. `tile_processor_s` is all
that a tile takes of processors, `empty_task_processor_s` what a task takes that does
nothing: the second over the first is the overhead without that other work. Reports
of 1 and of `--workers` workers are compared byte for byte, at one time of creation.
"""

import argparse
import hashlib
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from distributed import get_task_stream

from cellrot_infer.classify import Classifier
from cellrot_infer.cluster import LOCAL, Cluster, Engine, connected
from cellrot_infer.counting import Counted, Request, Task
from cellrot_infer.devices import available_threads
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.images import read_image
from cellrot_infer.journal import Journal
from cellrot_infer.lineages import read_scheme
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.provenance import Pairs, provenance
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run
from cellrot_infer.slides import find_slides
from cellrot_infer.types import Provenance

RESULT = Path(__file__).parent / "results" / "cluster.json"
FRAMES = Path(__file__).parent.parent / "tests" / "data" / "frames"
KINDS = "csv", "json", "html"
COMPARED = 24  # tiles that are counted by one worker and by many
EMPTY = 2_000  # tasks that do nothing, which tell how many a scheduler can give out


def main() -> None:
    """Measure, print the figures and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    figures = {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "processors": available_threads(),
        **overhead(asked.tiles),
    }
    make_folder(asked.out.parent)
    write_text(asked.out, json.dumps(figures, indent=2) + "\n")  # for it took a while
    figures |= sameness(asked.workers)
    write_text(asked.out, json.dumps(figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:24s}{figure!s:>24.24}")
    sys.exit(not figures["same_files"])


def overhead(tiles: int) -> dict[str, Any]:
    """Return what the scheduler adds to the work on `tiles` tiles, with one worker."""
    with tempfile.TemporaryDirectory() as folder, _workers(1, Path(folder)) as cluster:
        paths = _tiles(Path(folder), tiles)
        tasks = [Task(0, n, path, path, {}) for n, path in enumerate(paths)]
        list(cluster.count(tasks[:10]))  # loads the model
        begin, begin_processor_s = time.perf_counter(), _processor_s(cluster)
        with get_task_stream(cluster.client) as stream:
            counted = [found for _, found in cluster.count(tasks)]
        wall_s = time.perf_counter() - begin
        processor_s = _processor_s(cluster) - begin_processor_s
        empty_s, empty_processor_s = _empty(cluster)
    kept = [found.kept for found in counted if isinstance(found, Counted)]
    busy_s = sum(
        step["stop"] - step["start"]
        for task in stream.data
        for step in task["startstops"]
        if step["action"] == "compute"
    )
    contents = [path.read_bytes() for path in sorted(FRAMES.rglob("*.jpg"))]
    sides = [read_image(content, "").shape for content in contents]
    return {
        "tiles": len(kept),
        "cells": sum(len(each.findings) for each in kept),
        "wall_s": wall_s,
        "busy_s": busy_s,
        "overhead": wall_s / busy_s - 1,
        "tile_processor_s": processor_s / len(kept),
        "empty_task_processor_s": empty_processor_s / EMPTY,
        "tile_megapixels": mean(rows * columns for rows, columns, _ in sides) / 1e6,
        "tile_megabytes": mean(map(len, contents)) / 1e6,
        "empty_tasks_a_second": EMPTY / empty_s,
    }


def sameness(workers: int) -> dict[str, Any]:
    """Return whether 1 worker and `workers` workers write the same files."""
    hashes = []
    for count in (1, workers):
        with tempfile.TemporaryDirectory() as folder:
            _tiles(Path(folder) / "slide", COMPARED)
            hashes.append(_counted(Path(folder), count))
    return {
        "workers": workers,
        "same_files": hashes[0] == hashes[1],
        "files": hashes[0],
    }


def _counted(folder: Path, workers: int) -> dict[str, str]:
    """Return the hash of each report on the slide in `folder`."""
    out, slides = folder / "out", find_slides([folder / "slide"])
    out.mkdir()
    with (
        _workers(workers, out) as cluster,
        Journal(out) as journal,
        patch("cellrot_infer.run.provenance", _at_one_time),
    ):
        left = take_up(journal, cluster.request, slides, DEFAULT_MODEL)
        classifier = Classifier.load(DEFAULT_MODEL, device="cpu")
        run = Run(classifier, cluster.request, journal, slides, cluster=cluster)
        list(run.count(left))
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("slide.*"))
    }


@contextmanager
def _workers(count: int, out: Path) -> Iterator[Cluster]:
    engine = Engine.of(
        Classifier.load(DEFAULT_MODEL, device="cpu"), DEFAULT_MODEL, "cpu"
    )
    request = Request(KINDS, out, read_scheme())
    with connected(LOCAL, engine, request, count) as cluster:
        yield cluster


def _tiles(folder: Path, count: int) -> list[Path]:
    """Put `count` frames into `folder`; return their paths."""
    folder.mkdir(exist_ok=True)
    samples = sorted(FRAMES.rglob("*.jpg"))
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        shutil.copyfile(samples[number % len(samples)], path)
    return paths


def _processor_s(cluster: Cluster) -> float:
    """Return the processor time of the workers, of the scheduler and of this run."""
    workers: dict[str, float] = cluster.client.run(time.process_time)
    return time.process_time() + sum(workers.values())


def _empty(cluster: Cluster) -> tuple[float, float]:
    """Return the seconds, on the clock and of processors, of tasks that do nothing."""
    begin, begin_processor_s = time.perf_counter(), _processor_s(cluster)
    cluster.client.gather(cluster.client.map(_nothing, range(EMPTY), pure=False))
    wall_s = time.perf_counter() - begin
    return wall_s, _processor_s(cluster) - begin_processor_s


def _nothing(number: int) -> int:
    return number


def _at_one_time(classifier: Classifier, settings: Pairs) -> Provenance:
    return replace(
        provenance(classifier, settings), created="2026-01-01T00:00:00+00:00"
    )


if __name__ == "__main__":
    main()
