"""How fast a folder is counted, what takes the time, and whether memory stays flat.

    python -m benchmarks.throughput [--frames 1000] [--long 10000] [--out FOLDER]

`--frames` real frames (those of tests/data, again and again) are one slide, counted by
the command as a user runs it, with the default model, CSV and HTML reports. The share
of each stage is measured in processor time, one frame after the other. Memory is that
of a run over `--long` small frames in slides of 100, read after every 100th image.
Frames a minute hold for the machine that is named beside them, and for what else it was
doing.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt

from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Request
from cellrot_infer.devices import available_threads
from cellrot_infer.field import Field
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.frames import judge_scales, read_frame
from cellrot_infer.journal import FileState, Journal, Kept
from cellrot_infer.lineages import read_scheme
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.outputs import frame_pictures
from cellrot_infer.patches import cut_patches
from cellrot_infer.pipeline import analyze_frame
from cellrot_infer.quality import field_quality
from cellrot_infer.restain import as_at_home
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run, share_threads
from cellrot_infer.scan import Quiet
from cellrot_infer.segment import segment_field
from cellrot_infer.slides import find_slides
from cellrot_infer.writers.json import read_report
from tests.e2e.killing import small_slides
from tests.infer.images import FRAMES

RESULTS = Path(__file__).parent / "results"
SAMPLE = 60  # frames that the stages are timed on
STEP = 100  # images between two readings of memory, and in a slide
SETTLED = 500  # images after which memory should not grow
COMMAND = [sys.executable, "-c", "from cellrot_infer.cli import main; main()"]


def main() -> None:
    """Measure, print the table, and write it as JSON and as a plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--long", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    make_folder(options.out)
    with tempfile.TemporaryDirectory() as folder:
        speed = counted(Path(folder), options.frames)
        shares = stages(Path(folder) / "in")
        memory = resident(Path(folder), options.long)
    result = {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "processors": available_threads(),
        **speed,
        "share_of_time": shares,
        "memory": memory,
    }
    write_text(options.out / "throughput.json", json.dumps(result, indent=2) + "\n")
    draw(memory["images"], memory["resident_mb"], options.out / "memory.png")
    for key, value in {**speed, **shares}.items():
        print(f"{key:34s}{value:12.4g}")
    print(f"{'memory, end over settled':34s}{memory['end_over_settled']:12.4g}")


def counted(folder: Path, frames: int) -> dict[str, float]:
    """Return frames and cells a minute of the command over one slide."""
    sources = sorted(FRAMES.glob("*/*.jpg"))
    inputs = folder / "in"
    inputs.mkdir()
    for number in range(frames):
        shutil.copy(sources[number % len(sources)], inputs / f"{number:05d}.jpg")
    arguments = "slide", inputs, "--out", folder / "out", "--report", "csv,html"
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*COMMAND, *map(str, arguments), "--pixel-size", "0.1"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall_s = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cells = len(read_report(folder / "out" / "in.json").findings)
    return {
        "frames": frames,
        "cells": cells,
        "wall_s": wall_s,
        "processor_s": cpu_s,
        "frames_a_minute": 60 * frames / wall_s,
        "cells_a_minute": 60 * cells / wall_s,
        "frames_a_processor_minute": 60 * frames / cpu_s,
        "cells_a_processor_minute": 60 * cells / cpu_s,
    }


def stages(inputs: Path) -> dict[str, float]:
    """Return the share of each stage in the processor time of a frame, in [0, 1].

    What is done once for a slide, the judgement of its scale, is given in frames.
    """
    cv2.setNumThreads(1)
    classifier = Classifier.load(DEFAULT_MODEL, device="cpu", threads=1)
    paths = sorted(inputs.iterdir())[:SAMPLE]
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder)) as journal:
        journal.start((), [("in", [path.name for path in paths])])
        for number, path in enumerate(paths):
            time_stages(number, path, classifier, journal, spent)
        with timed(spent, "journal"):
            list(journal.kept(0))
    whole = sum(spent.values())
    once: dict[str, float] = defaultdict(float)
    with timed(once, "judge the scale of a slide, in frames"):
        judge_scales(paths)
    shares = {stage: seconds / whole for stage, seconds in spent.items()}
    frames = {stage: seconds / whole * len(paths) for stage, seconds in once.items()}
    return shares | frames


def time_stages(
    number: int,
    path: Path,
    classifier: Classifier,
    journal: Journal,
    spent: dict[str, float],
) -> None:
    """Count the image at `path`; add what each stage takes to `spent`."""
    with timed(spent, "read"):
        frame = read_frame(path, pixel_size_um=0.1)
    with timed(spent, "light and density"):
        field = Field.of(frame)
    with timed(spent, "segment"):
        cells, colours = segment_field(field)
    with timed(spent, "judge the field"):
        focus = field_quality(field, cells).focus
    card, light = classifier.card, field.glass.light
    with timed(spent, "cut patches"):
        patches = cut_patches(frame, cells, card.pixel_size_um, light)
    with timed(spent, "colours of the laboratory"):
        patches = as_at_home(patches, light, colours, focus, card)
    with timed(spent, "classify"):
        classifier.classify(patches)
    result = analyze_frame(frame, classifier)
    with timed(spent, "pictures for the report"):
        pictures = frame_pictures(result, ("html",))
    with timed(spent, "journal"):
        kept = Kept(result.record, result.findings)
        journal.add(0, number, FileState(0, 0, ""), kept, pictures)


@contextmanager
def timed(spent: dict[str, float], stage: str) -> Iterator[None]:
    """Add the processor time of what is done here to that of `stage`."""
    begin = time.process_time()
    yield
    spent[stage] += time.process_time() - begin


def resident(folder: Path, images: int) -> dict[str, Any]:
    """Return the resident memory of a run over `images` small frames, in megabytes."""
    inputs = small_slides(folder / "long", 1, STEP) / "slide 0"
    for number in range(1, images // STEP):
        shutil.copytree(
            inputs, inputs.with_name(f"slide {number}"), copy_function=os.link
        )
    request = Request(("csv",), folder / "long out", read_scheme(), 0.1)
    make_folder(request.folder)
    slides = find_slides([inputs.parent], recursive=True)
    workers, threads = share_threads(0, images)
    classifier = Classifier.load(DEFAULT_MODEL, device="cpu", threads=threads)
    readings = Readings()
    with Journal(request.folder) as journal:
        left = take_up(journal, request, slides, DEFAULT_MODEL)
        run = Run(classifier, request, journal, slides, readings, workers)
        cells = sum(len(report.findings) for report, _ in run.count(left))
    megabytes = readings.megabytes
    settled = megabytes[SETTLED // STEP - 1]
    return {
        "images": list(range(STEP, images + 1, STEP)),
        "cells": cells,
        "resident_mb": megabytes,
        "end_over_settled": megabytes[-1] / settled,
        "most_over_settled": max(megabytes[SETTLED // STEP :]) / settled,
    }


class Readings(Quiet):
    """Reads the memory of the process as a run goes on."""

    def __init__(self) -> None:
        self.done = 0
        self.megabytes: list[float] = []

    def advance(self) -> None:
        """Count an image, and read the memory after some."""
        self.done += 1
        if self.done % STEP == 0:
            self.megabytes.append(resident_mb())


def resident_mb() -> float:
    """Return the memory that this process has in RAM, in megabytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def draw(images: list[int], megabytes: list[float], path: Path) -> None:
    """Draw resident memory over the images of a run."""
    figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
    axes.plot(images, megabytes, color="#31688e")
    axes.set(xlabel="images counted", ylabel="resident memory, MB")
    axes.set_ylim(0, 1.25 * max(megabytes))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
