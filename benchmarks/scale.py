"""What a laboratory of many slides needs, computed from what was measured.

    python -m benchmarks.scale

Reads `results/throughput.json` (what a frame takes of a processor) and
`results/cluster.json` (what a scheduler adds, and how many tasks it gives out), and
writes `docs/scale.md`. Nothing on that page is typed in but the plan: slides a day,
and megapixels a slide.
"""

import json
import math
from pathlib import Path
from typing import Any

from cellrot_infer.files import write_text

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
SLIDES_A_DAY = 10_000
DAY_S = 86_400
BUSY = 0.7  # of the time; the rest is for what comes in bursts and for repairs
PLANS = {  # frames of a camera, megapixels of each
    "100 camera frames of 0.3 megapixels": (100, 0.3),
    "100 camera frames of 2 megapixels": (100, 2.0),
    "100 camera frames of 5 megapixels": (100, 5.0),
}


def main() -> None:
    """Write the page."""
    write_text(PAGE, page(_read("throughput.json"), _read("cluster.json")))


def page(throughput: dict[str, Any], cluster: dict[str, Any]) -> str:
    """Return the page for these measurements."""
    frame_s = 60 / throughput["frames_a_processor_minute"]
    megapixel_s = frame_s / cluster["tile_megapixels"]
    rows = [_row(plan, *PLANS[plan], megapixel_s, cluster) for plan in PLANS]
    return TEXT.format(
        slides=SLIDES_A_DAY,
        busy=BUSY,
        frame_ms=1e3 * frame_s,
        megapixels=cluster["tile_megapixels"],
        megapixel_ms=1e3 * megapixel_s,
        tiles=cluster["tiles"],
        overhead=100 * cluster["overhead"],
        rate=cluster["empty_tasks_a_second"],
        machine=throughput["machine"],
        rows="\n".join(rows),
    )


def _row(
    plan: str,
    frames: int,
    megapixels: float,
    megapixel_s: float,
    cluster: dict[str, Any],
) -> str:
    slide_s = frames * megapixels * megapixel_s
    tasks_a_second = SLIDES_A_DAY * frames / DAY_S
    processors = math.ceil(
        SLIDES_A_DAY * slide_s * (1 + cluster["overhead"]) / DAY_S / BUSY
    )
    share = cluster["tile_megabytes"] / cluster["tile_megapixels"]
    read_mb_s = tasks_a_second * megapixels * share
    return (
        f"| {plan} | {slide_s:.0f} s | {processors} | {tasks_a_second:.0f} | "
        f"{read_mb_s:.1f} MB/s |"
    )


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


TEXT = """# Many slides a day

Computed by `python -m benchmarks.scale` from `benchmarks/results/throughput.json` and
`benchmarks/results/cluster.json`; measure on your machines and run it again.

```
dask scheduler                                   # on one machine
dask worker tcp://HOST:8786 --nworkers auto      # on each of the others
cellrot-infer slide SHARE --recursive --out REPORTS --scheduler tcp://HOST:8786
```

The workers read the images by the same path as the run and load the model once; the
run alone writes, and goes on with `--resume`. A frame is a task, and so are each 16
tiles of a large image. All need the same versions and the same
model, which is checked. Whoever reaches the scheduler can run code on the workers: keep
it inside the laboratory's network, or use Dask's own TLS.

## What was measured
On {machine}:

- {frame_ms:.0f} ms of a processor for a frame of {megapixels:.2f} megapixels on
  average, which is {megapixel_ms:.0f} ms a megapixel.
- The scheduler adds {overhead:.1f} % to that at {tiles} tiles; tasks that do nothing
  pass it at {rate:.0f} a second. Other work on the machine is in both figures.

## {slides} slides a day
Processors are busy for {busy:.0%} of the day.

| a slide is | processor time | processors | tasks a second | read from the share |
|---|---|---|---|---|
{rows}

One scheduler serves as many tasks a second as the last figure above says. Beyond it,
run several, each with its own part of the slides and its own output folder.
"""


if __name__ == "__main__":
    main()
