"""How many white cells of real frames are found, the pixel size not told.

    python -m benchmarks.detection [--data ../shared/data]

A box counts as found at an intersection over union of 0.5, one to one. One setting for
all frames; the pixel size is what `cellrot-infer slide` would take for one frame alone.
"""

import argparse
import json
from pathlib import Path

import cv2

from benchmarks.labelled import Score, read_labelled, score
from cellrot_infer.files import write_text
from cellrot_infer.frames import read_frame
from cellrot_infer.segment import segment

RESULT = Path(__file__).parent / "results" / "detection.json"
SETS = ("bccd", "pbc_fields", "draaslan")


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    if not data.is_dir():
        raise SystemExit(f"skipped: no data in {data}; name the folder with --data")
    cv2.setNumThreads(1)
    rows = {name: found_in(data, name) for name in SETS}
    print(f"{'frames':<12}{'cells':>6}{'recall':>9}{'precision':>11}")
    for name, counts in rows.items():
        cells = counts.hits + counts.misses
        print(f"{name:<12}{cells:>6}{counts.recall:>9.3f}{counts.precision:>11.3f}")
    values = {
        name: {
            "cells": counts.hits + counts.misses,
            "recall": counts.recall,
            "precision": counts.precision,
        }
        for name, counts in rows.items()
    }
    write_text(RESULT, json.dumps(values, indent=2) + "\n")


def found_in(data: Path, name: str) -> Score:
    """Return what is found in the frames of one set."""
    total = Score(0, 0, 0)
    for labelled in read_labelled(data, name):
        path = next((data / "frames" / name).glob(f"*/{labelled.frame.name}"))
        cells = segment(read_frame(path))
        total += score([cell.box for cell in cells], labelled.white_cells)
    return total


if __name__ == "__main__":
    main()
