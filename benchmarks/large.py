"""A whole slide of 40 000 x 40 000 pixels: memory, time, and how much is skipped.

    python -m benchmarks.large [--side 40000] [--threads 0] [--out FILE]

The slide is made of the sample frames in tests/data: a quarter of it is covered with
them, the rest is empty glass. It is a BigTIFF of JPEG tiles, each encoded once and
written many times. It is counted in a process of its own, of which the system tells the
peak of resident memory and the processor time (not on Windows). Seconds hold for this
machine and what else ran on it: `load` is the mean number of threads of all programs
that wanted a core. Processor time over time says how many cores the count got, and
`threads_ready` (Linux) how many it had work for: the mean number of its threads that
ran or waited for a core only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, get_native_id
from typing import Any

import cv2
import numpy as np
import tifffile

from cellrot_infer.classify import Classifier
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.largeimage import open_large
from cellrot_infer.scan import scan
from cellrot_infer.types import RGB

RESULT = Path(__file__).parent / "results" / "large.json"
FRAMES = Path(__file__).parents[1] / "tests" / "data" / "frames" / "bccd"
PIXEL_SIZE_UM = 0.07
TILE_PX, PANEL_TILES = 512, 4
PANELS = 6  # different ones; the slide repeats them
COVERED = 0.25
GLASS_NOISE = 1.5  # grey levels
TASKS = Path("/proc/self/task")
SAMPLE_S = 0.2


def main() -> None:
    """Make the slide, count it, print the result and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000, help="in pixels")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--count", type=Path, help="count this slide, print JSON")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    if asked.count:
        print(json.dumps(count(asked.count, asked.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        make_slide(path, asked.side)
        result = {"side_px": asked.side, "file_mb": path.stat().st_size / 1e6}
        result |= measured(path, asked.threads)
    make_folder(asked.out.parent)
    write_text(asked.out, json.dumps(result, indent=2) + "\n")
    for key, value in result.items():
        print(
            f"{key:24}{value:.3f}" if isinstance(value, float) else f"{key:24}{value}"
        )


def count(path: Path, threads: int) -> dict[str, Any]:
    """Return what is found on the slide, and the seconds of its parts."""
    classifier = Classifier.load(device="cpu", threads=threads)
    begin = time.perf_counter()
    image = open_large(path)
    ready: list[int] = []
    done = Event()
    watch = Thread(target=watch_threads, args=(ready, done))
    watch.start()
    try:
        found = scan(image, classifier)
    finally:
        done.set()
        watch.join()
    image.close()
    return {
        "pixel_size_um": image.pixel_size.um,
        "threads": classifier.threads,
        "cells": len(found.cells),
        "tiles": found.tiles,
        "skipped_share": found.empty / found.tiles,
        "count_s": time.perf_counter() - begin,
        "threads_ready": float(np.mean(ready)) if ready else None,
    }


def watch_threads(ready: list[int], done: Event) -> None:
    """Append how many threads of this process, but for this one, are ready to run."""
    own = str(get_native_id())
    while TASKS.is_dir() and not done.wait(SAMPLE_S):
        states = []
        for task in TASKS.iterdir():
            with suppress(OSError):  # a thread that has just ended
                stat = (task / "stat").read_text(encoding="utf-8")
                states.append(task.name != own and stat.rpartition(")")[2].split()[0])
        ready.append(states.count("R"))


def measured(path: Path, threads: int) -> dict[str, Any]:
    """Count the slide in another process; return its result, memory and time."""
    command = [sys.executable, "-m", "benchmarks.large", "--count", str(path)]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--threads", str(threads)], check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(done.stdout)
    result["process_s"] = time.perf_counter() - begin
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        result["peak_resident_mb"] = usage.ru_maxrss * unit / 1e6
        result["processor_s"] = usage.ru_utime + usage.ru_stime
        result["cores_busy"] = result["processor_s"] / result["process_s"]
        result["load"] = os.getloadavg()[1]  # of the last five minutes
        result["cores"] = os.cpu_count()
    return result | {"machine": platform.machine(), "system": platform.system()}


def make_slide(path: Path, side_px: int) -> None:
    """Write a tiled BigTIFF of `side_px` in both directions."""
    across = -(-side_px // TILE_PX)
    tifffile.imwrite(
        path,
        _tiles(across),
        shape=(side_px, side_px, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        compression="jpeg",
        photometric="ycbcr",
        subsampling=(2, 2),
        bigtiff=True,
        resolution=(1e4 / PIXEL_SIZE_UM, 1e4 / PIXEL_SIZE_UM),
        resolutionunit="CENTIMETER",
    )


def _tiles(across: int) -> Iterator[bytes]:
    """Yield the encoded tiles of the slide, row after row."""
    rng = np.random.default_rng(0)
    frames = [_read(path) for path in sorted(FRAMES.glob("*.jpg"))]
    panels = [_encoded(_panel(frames, rng)) for _ in range(PANELS)]
    glass = [_encoded(_glass(frames, rng)) for _ in range(2)]
    side = -(-across // PANEL_TILES)
    smear = round(side * COVERED**0.5)
    chosen = rng.integers(len(panels), size=(side, side))
    first = (side - smear) // 2
    for row in range(across):
        for column in range(across):
            down, right = row // PANEL_TILES, column // PANEL_TILES
            on_smear = all(first <= n < first + smear for n in (down, right))
            panel = panels[chosen[down, right]] if on_smear else glass[right % 2]
            yield panel[row % PANEL_TILES][column % PANEL_TILES]


def _panel(frames: list[RGB], rng: np.random.Generator) -> RGB:
    """Return frames side by side, mirrored at random, as large as a panel."""
    side = TILE_PX * PANEL_TILES
    height, width = frames[0].shape[:2]
    rows = [
        np.hstack([_mirrored(frames[rng.integers(len(frames))], rng) for _ in range(n)])
        for n in [-(-side // width)] * -(-side // height)
    ]
    return np.asarray(np.vstack(rows)[:side, :side], np.uint8)


def _mirrored(frame: RGB, rng: np.random.Generator) -> RGB:
    return frame[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def _glass(frames: list[RGB], rng: np.random.Generator) -> RGB:
    """Return a panel of empty glass, as bright as that of the frames."""
    side = TILE_PX * PANEL_TILES
    colour = np.median([np.percentile(f, 90, axis=(0, 1)) for f in frames], axis=0)
    noisy = colour + rng.normal(0, GLASS_NOISE, (side, side, 1))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _encoded(panel: RGB) -> list[list[bytes]]:
    """Return the tiles of a panel as JPEG, row after row."""
    places = range(0, TILE_PX * PANEL_TILES, TILE_PX)
    return [
        [_jpeg(panel[y : y + TILE_PX, x : x + TILE_PX]) for x in places] for y in places
    ]


def _jpeg(tile: RGB) -> bytes:
    bgr = cv2.cvtColor(tile, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"no JPEG can be made of a tile of shape {tile.shape}")
    return data.tobytes()


def _read(path: Path) -> RGB:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


if __name__ == "__main__":
    main()
