"""How well cells are found and outlined: one setting for all frames.

    python -m benchmarks.segmentation [--data ../shared/data] [--every N] [--sheets DIR]
                                      [--only masks|frames|crowded|speed]

Prints a table and writes it as JSON; `--only` measures and writes one part of it anew.
`--sheets` also draws the worst cases of each set, so that a person can see how it
fails. Those of the masks, which are GPL-3.0, go into DIR/masks: keep them out of the
repository.

A box counts as found at an intersection over union of 0.5, one to one. "told" means
that the pixel size of the set was given; "judged" that nothing but the frame was, as
in `cellrot-infer slide` on one image. The error of the pixel size is that against the
boxes of red cells, "together" that of all frames as one slide, which is how a folder is
counted. The constants of the segmentation were chosen while looking at these sets; most
later changes were chosen on one half (by the hash of the image's name), and the figures
of both halves are in the JSON, "chosen" and "held out".
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from benchmarks.crowded import crowded_fields, read_cuttings
from benchmarks.labelled import (
    PIXEL_SIZE_UM,
    Judged,
    Labelled,
    Score,
    in_first_half,
    judge,
    outline,
    read_labelled,
    read_masked,
    red_cell_size_um,
)
from benchmarks.sheets import detection_sheet, mask_sheet
from cellrot_infer.frames import agreed_size, read_frame
from cellrot_infer.segment import segment
from cellrot_infer.types import RGB, Frame, PixelSize

RESULT = Path(__file__).parent / "results" / "segmentation.json"
FRAMES = ("bccd", "pbc_fields", "draaslan")
MASKS = ("set1", "set2")
TOUCHING = (0.0, 0.2, 0.4)
FIELDS = 3  # in each look
SPEED_SIZES = ((480, 640), (1200, 1920))
REPEATS = 9
Row = dict[str, float]
Table = dict[str, dict[str, Row]]
T = TypeVar("T")


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=1, help="only every Nth image")
    parser.add_argument("--sheets", type=Path, help="folder for the worst cases")
    parser.add_argument("--only", choices=MEASURES, help="measure one part anew")
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"skipped: no data in {options.data}; name it with --data")
    cv2.setNumThreads(1)
    table: Table = {}
    for name, measure in MEASURES.items():
        if options.only in (None, name):
            table |= measure(options.data, options.every, options.sheets)
    for name, rows in table.items():
        print(f"\n{name}")
        for key, row in rows.items():
            print(f"  {key:<34}" + "  ".join(f"{k} {v:g}" for k, v in row.items()))
    if options.every == 1:
        known = json.loads(RESULT.read_text(encoding="utf-8")) if options.only else {}
        RESULT.write_text(json.dumps(known | table, indent=2) + "\n", encoding="utf-8")


def masks(data: Path, every: int, sheets: Path | None) -> Table:
    """Return the mean Dice of cell and nucleus in each set of masks."""
    rows = {}
    for name in MASKS:
        images = [outline(m) for m in islice(read_masked(data, name), 0, None, every)]
        for half, part in _halves(images, lambda one: one.masked.frame.name):
            rows[f"{name}, {half}"] = {
                "images": len(part),
                "cell": _mean(one.cell_dice for one in part),
                "nucleus": _mean(one.nucleus_dice for one in part),
            }
        if sheets:
            mask_sheet(images, sheets / "masks" / f"{name}.png")
    return {"masks": rows}


def frames(data: Path, every: int, sheets: Path | None) -> Table:
    """Return recall and precision of white cells, and the error of the pixel size."""
    scores, sizes = {}, {}
    for name in FRAMES:
        labelled = list(islice(read_labelled(data, name), 0, None, every))
        told = [judge(one) for one in labelled]
        judged = [judge(_untold(one, data / "frames" / name)) for one in labelled]
        for how, results in (("told", told), ("judged", judged)):
            for half, part in _halves(results, lambda one: one.labelled.frame.name):
                scores[f"{name}, size {how}, {half}"] = _score_row(part)
        for half, part in _halves(judged, lambda one: one.labelled.frame.name):
            sizes[f"{name}, {half}"] = _size_row([one.labelled for one in part])
        sizes[f"{name}, together"] = _slide_row([one.labelled for one in judged])
        if sheets:
            detection_sheet(judged, sheets / f"{name}.png")
    return {"frames": scores, "pixel size": sizes}


def _untold(labelled: Labelled, folder: Path) -> Labelled:
    """Return the same frame with the pixel size that its red cells tell."""
    path = next(folder.glob(f"*/{labelled.frame.name}"))
    return Labelled(read_frame(path), labelled.white_cells, labelled.red_cells)


def _size_row(frames: Sequence[Labelled]) -> Row:
    """Return the error of the judged sizes against those by the boxes of red cells."""
    true_um = {one.frame.name: red_cell_size_um(one) for one in frames}
    known = [one.frame for one in frames if true_um[one.frame.name]]
    judged = [frame for frame in known if frame.pixel_size.source == "red cells"]
    errors = [abs(f.pixel_size_um / (true_um[f.name] or np.nan) - 1) for f in judged]
    known_errors = errors or [np.nan]
    return {
        "frames": len(errors),
        "unknown": len(known) - len(judged),
        "median": round(float(np.median(known_errors)), 4),
        "p95": round(float(np.percentile(known_errors, 95)), 4),
    }


def _slide_row(frames: Sequence[Labelled]) -> Row:
    """Return the error of the size that all frames of a set agree on."""
    sizes = [one.frame.pixel_size for one in frames]
    agreed = agreed_size([size for size in sizes if size.source == "red cells"])
    true_um = np.median([um for one in frames if (um := red_cell_size_um(one))])
    if agreed is None:
        return {"frames": len(frames), "agreed": 0}
    error = round(abs(agreed.um / float(true_um) - 1), 4)
    return {"frames": len(frames), "agreed": 1, "error": error}


def crowded(data: Path, every: int, _: Path | None) -> Table:
    """Return recall and precision in crowded fields, by the share that touches."""
    cuttings = read_cuttings(data)
    rows = {}
    for touching in TOUCHING:
        count = max(1, FIELDS // every)
        fields = [field for _, field in crowded_fields(cuttings, touching, count, 0)]
        rows[f"{touching:.0%} touching"] = _score_row([judge(one) for one in fields])
    return {"crowded": rows}


def speed(data: Path, _: int, __: Path | None) -> Table:
    """Return the time on one core, and the ratio to a blur of the same frame."""
    rows = {}
    for name in FRAMES:
        source = [one.frame.pixels for one in islice(read_labelled(data, name), 24)]
        for size in SPEED_SIZES:
            size_um = PixelSize(PIXEL_SIZE_UM[name], "option")
            frame = Frame(name, _mosaic(source, *size), size_um)
            rows[f"{name}, {size[1]} x {size[0]}"] = _speed_row(frame)
    return {"speed": rows}


def _speed_row(frame: Frame) -> Row:
    """Return the fastest of some runs, interleaved with the reference."""
    ours, reference = [], []
    cells = 0
    for _ in range(REPEATS):
        start = time.process_time()
        cells = len(segment(frame))
        middle = time.process_time()
        cv2.GaussianBlur(frame.pixels, (0, 0), 5.0)
        ours.append(middle - start)
        reference.append(time.process_time() - middle)
    return {
        "cells": cells,
        "ms": round(1000 * min(ours), 1),
        "blur_ms": round(1000 * min(reference), 1),
        "ratio": round(min(ours) / min(reference), 2),
    }


def _mosaic(source: Sequence[RGB], height: int, width: int) -> RGB:
    """Return real frames side by side, cut to one size."""
    field = np.zeros((height, width, 3), np.uint8)
    tile_height, tile_width = source[0].shape[:2]
    number = 0
    for y in range(0, height, tile_height):
        for x in range(0, width, tile_width):
            tile = cv2.resize(source[number % len(source)], (tile_width, tile_height))
            room = field[y : y + tile_height, x : x + tile_width]
            room[:] = tile[: room.shape[0], : room.shape[1]]
            number += 1
    return field


def _halves(
    items: Sequence[T], name: Callable[[T], str]
) -> Iterable[tuple[str, list[T]]]:
    yield "all", list(items)
    yield "chosen", [one for one in items if in_first_half(name(one))]
    yield "held out", [one for one in items if not in_first_half(name(one))]


def _score_row(judged: Sequence[Judged]) -> Row:
    total = sum((one.score for one in judged), Score(0, 0, 0))
    return {
        "cells": total.hits + total.misses,
        "recall": round(total.recall, 4),
        "precision": round(total.precision, 4),
        "missed": total.misses,
        "extra": total.extras,
    }


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


MEASURES = {"masks": masks, "frames": frames, "crowded": crowded, "speed": speed}

if __name__ == "__main__":
    main()
