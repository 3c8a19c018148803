"""Are copies of a cell found, however they were made, and which does PBC hold?

    python -m benchmarks.duplicates [--data ../shared/data] [--cells 500]

Copies of real cells are made in known ways and looked for among all of them. Then the
whole set is searched, and what is found is listed: the pairs can be looked at.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cellrot_infer.certificate import turn
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.images import read_image
from cellrot_infer.types import RGB
from cellrot_train.check import look_at
from cellrot_train.data import PatchSet, load_patch_set
from cellrot_train.likeness import Thumbs, find_pairs, thumb

RESULT = Path(__file__).parent / "results" / "duplicates.json"
ANGLES_DEG = np.random.default_rng(0).uniform(0, 360, 10_000)


def shifted(cell: RGB, share: float) -> RGB:
    """Return `cell` moved by a share of its side, as another crop would show it."""
    step = share * cell.shape[1]
    matrix = np.array([[1, 0, step], [0, 1, 0]], np.float32)
    size, border = cell.shape[1::-1], cv2.BORDER_REFLECT_101
    moved = cv2.warpAffine(cell, matrix, size, None, cv2.INTER_CUBIC, border)
    return np.asarray(moved, np.uint8)


def compressed(cell: RGB, quality: int) -> RGB:
    """Return `cell` as a JPEG file of that quality shows it."""
    _, data = cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def recoloured(cell: RGB) -> RGB:
    """Return `cell` under a bluer, brighter light."""
    return np.clip(cell * np.array([0.9, 0.97, 1.1]) + 8, 0, 255).astype(np.uint8)


def turned(cell: RGB, number: int) -> RGB:
    """Return `cell` turned by an angle that its `number` decides."""
    return turn(cell[None], ANGLES_DEG[number])[0]


COPIES: dict[str, Callable[[RGB, int], RGB]] = {
    "turned": turned,
    "mirrored and turned": lambda cell, n: turned(cell[:, ::-1].copy(), n),
    "turned, JPEG 70": lambda cell, n: compressed(turned(cell, n), 70),
    "turned, other light": lambda cell, n: recoloured(turned(cell, n)),
    "shifted by 1 %": lambda cell, n: shifted(cell, 0.01),
    "shifted by 2 %": lambda cell, n: shifted(cell, 0.02),
    "shifted by 4 %": lambda cell, n: shifted(cell, 0.04),
    "turned, shifted by 2 %": lambda cell, n: shifted(turned(cell, n), 0.02),
}


def main() -> None:
    """Make copies, look for them, search the set, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not (options.data / "pbc").is_dir():
        print(f"skipped: no patches in {options.data / 'pbc'}; name them with --data")
        return
    patch_set = load_patch_set(options.data / "pbc")
    recall = measure_recall(patch_set, options.cells)
    print(f"{'copy':26s} found  pairs of different cells")
    for row in recall:
        print(f"{row['copy']:26s} {row['found']:5.1%}  {row['others']}")
    found = search(patch_set)
    print(
        f"{found['images']} images: read in {found['read_s']:.0f} s, searched in "
        f"{found['search_s']:.0f} s; {len(found['pairs'])} pairs, "
        f"{found['across_splits']} of them across splits"
    )
    make_folder(options.out.parent)
    result = {"cells": options.cells, "recall": recall, "pbc": found}
    write_text(options.out, json.dumps(result, indent=2) + "\n")


def measure_recall(patch_set: PatchSet, count: int) -> list[dict[str, Any]]:
    """Return for each kind of copy the share that is found, and what else is."""
    rows = np.random.default_rng(0).permutation(patch_set.indices("test"))[:count]
    files = [patch_set.records[row].file for row in rows]
    cells = [read_image(file.read_bytes(), file.name) for file in files]
    thumbs = [thumb(cell) for cell in cells]
    alone = {pair[:2] for pair in find_pairs(np.stack(thumbs))}
    found = []
    for name, make in COPIES.items():
        copies = [thumb(make(cell, number)) for number, cell in enumerate(cells)]
        pairs = {pair[:2] for pair in find_pairs(np.stack([*thumbs, *copies]))}
        hits = {(number, number + len(cells)) for number in range(len(cells))} & pairs
        others = {
            tuple(sorted((a % len(cells), b % len(cells)))) for a, b in pairs - hits
        }
        row = {
            "copy": name,
            "found": len(hits) / len(cells),
            "others": len(others - alone),
        }
        found.append(row)
    return found


def search(patch_set: PatchSet) -> dict[str, Any]:
    """Return the pairs of the whole set, most alike first, and what it took."""
    begun = time.perf_counter()
    thumbs = _thumbs(patch_set)
    read = time.perf_counter()
    pairs = sorted(find_pairs(thumbs), key=lambda pair: -pair.likeness)
    done = time.perf_counter()
    named = [_named(patch_set, pair[:2], pair.likeness) for pair in pairs]
    return {
        "images": len(thumbs),
        "read_s": round(read - begun, 1),
        "search_s": round(done - read, 1),
        "across_splits": sum(len(set(pair["splits"])) > 1 for pair in named),
        "pairs": named,
    }


def _thumbs(patch_set: PatchSet) -> Thumbs:
    looks = look_at(patch_set.records)
    return np.stack([look.thumb for look in looks if look.thumb is not None])


def _named(patch_set: PatchSet, pair: Sequence[int], likeness: float) -> dict[str, Any]:
    records = [patch_set.records[row] for row in pair]
    return {
        "likeness": round(likeness, 4),
        "names": [record.name for record in records],
        "splits": [record.split for record in records],
    }


if __name__ == "__main__":
    main()
