"""Slides made of the real samples: true cells with the findings of an invented model.

Each frame is a mosaic of sample patches, so that what a report shows can be checked
against what is there. Probabilities are drawn; every tenth cell is taken for another
class, every thirtieth is unknown.
"""

import csv
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from cellrot_infer.lineages import read_scheme
from cellrot_infer.types import (
    RGB,
    Box,
    Cell,
    Decision,
    Finding,
    Frame,
    FrameRecord,
    PixelSize,
    Provenance,
    Report,
)

SAMPLES = Path(__file__).parent.parent / "data" / "patches"
COLUMNS, ROWS, PATCH_PX = 8, 5, 256
PIXEL_SIZE = PixelSize(0.1, "option")


@cache
def sample_patches() -> tuple[tuple[str, RGB], ...]:
    """Return (label, patch) of every sample, in an order that mixes the classes."""
    lines = (SAMPLES / "index.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(lines))
    rows.sort(key=lambda row: row["path"].rsplit("_")[-1])
    return tuple((row["label"], _read(SAMPLES / row["path"])) for row in rows)


def _read(path: Path) -> RGB:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def class_names() -> tuple[str, ...]:
    """Return the eleven classes of the samples."""
    return tuple(sorted({label for label, _ in sample_patches()}))


def provenance() -> Provenance:
    """Return where the findings claim to come from; 94 % of each class is right."""
    names = class_names()
    rows = [
        [1 if i != j else 160 for j in range(len(names))] for i in range(len(names))
    ]
    return Provenance(
        model="hnet-r2",
        model_sha256="0123456789abcdef" * 4,
        class_names=names,
        provider="CPUExecutionProvider",
        versions=(("cellrot", "0.1.0"), ("onnxruntime", "1.31.1")),
        settings=(("pixel size", "0.1 um"), ("batch", "64")),
        created="2026-03-01T09:30:00+00:00",
        confusion=tuple(map(tuple, rows)),
    )


def slide(cells: int, *, posed: bool = False) -> Report:
    """Return a report of `cells` cells; `posed` cells know their orientation."""
    findings = tuple(_findings(cells, posed=posed))
    frames = dict.fromkeys(finding.frame for finding in findings)
    side = COLUMNS * PATCH_PX, ROWS * PATCH_PX
    records = tuple(FrameRecord(name, "ab" * 32, *side, PIXEL_SIZE) for name in frames)
    return Report("Marrow 17", provenance(), records, findings, scheme=read_scheme())


def patch_of(index: int) -> RGB:
    """Return the patch of the cell that stands at `index` in the findings."""
    samples = sample_patches()
    return samples[index % len(samples)][1]


def frame_of(report: Report, name: str) -> Frame:
    """Return the mosaic whose cells `report` found in the frame `name`."""
    pixels = np.full((ROWS * PATCH_PX, COLUMNS * PATCH_PX, 3), 235, np.uint8)
    for index, finding in enumerate(report.findings):
        if finding.frame == name:
            x, y = _corner(finding.number - 1)
            pixels[y : y + PATCH_PX, x : x + PATCH_PX] = patch_of(index)
    return Frame(name, pixels, PIXEL_SIZE, "ab" * 32)


def _corner(place: int) -> tuple[int, int]:
    return place % COLUMNS * PATCH_PX, place // COLUMNS * PATCH_PX


def _findings(cells: int, *, posed: bool) -> Iterator[Finding]:
    rng = np.random.default_rng(1)
    names = class_names()
    for index in range(cells):
        label = sample_patches()[index % len(sample_patches())][0]
        other = names[(names.index(label) + 1 + index % 3) % len(names)]
        if index % 10 == 3:
            label, other = other, label
        probability = float(round(1 - 0.6 * rng.beta(1, 6), 4))
        novelty = float(round(rng.gamma(4, 0.2), 4)) + 4 * (index % 30 == 7)
        yield Finding(
            frame=f"field {index // (COLUMNS * ROWS) + 1:03d}.png",
            number=index % (COLUMNS * ROWS) + 1,
            cell=_cell(index % (COLUMNS * ROWS)),
            label=label,
            probability=probability,
            runner_up=other,
            runner_up_probability=round((1 - probability) * 0.8, 4),
            decision=_decision(probability, novelty),
            novelty=novelty,
            orientation_rad=float(rng.uniform(-math.pi, math.pi)) if posed else None,
        )


def _decision(probability: float, novelty: float) -> Decision:
    if novelty > 4:
        return "unknown"
    return "accepted" if probability > 0.75 else "uncertain"


def _cell(place: int) -> Cell:
    x, y = _corner(place)
    outline, nucleus = _ellipse(x, y, 76, 70), _ellipse(x, y, 46, 40)
    box = Box(x + 52, y + 58, 153, 141)
    return Cell(box, outline, (nucleus,), 167.1, 57.8, False, 0.9)


def _ellipse(x: int, y: int, a: int, b: int) -> tuple[tuple[int, int], ...]:
    turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    corners = np.stack([x + 128 + a * np.cos(turns), y + 128 + b * np.sin(turns)], 1)
    return tuple((int(px), int(py)) for px, py in np.rint(corners))
