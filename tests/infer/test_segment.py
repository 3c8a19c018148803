"""Cells are found where people saw them, and nowhere else."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer.cytoplasm import calibrate
from cellrot_infer.field import Field
from cellrot_infer.segment import find_cells, segment, smoothed
from cellrot_infer.types import RGB, Box, Frame, PixelSize, Polygon

FRAMES = Path(__file__).parents[1] / "data" / "frames"
PIXEL_SIZE_UM = {"bccd": 0.07, "pbc_fields": 0.1}


def read(path: Path) -> RGB:
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def white_cells(folder: str) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = {}
    with (FRAMES / folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            of_frame = boxes.setdefault(row["frame"], [])
            if row["label"] == "wbc":
                of_frame.append(Box(*(round(float(row[key])) for key in "xywh")))
    return boxes


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    right = min(one.x_px + one.width_px, other.x_px + other.width_px)
    bottom = min(one.y_px + one.height_px, other.y_px + other.height_px)
    width = max(0, right - max(one.x_px, other.x_px))
    height = max(0, bottom - max(one.y_px, other.y_px))
    areas = one.width_px * one.height_px + other.width_px * other.height_px
    return width * height / (areas - width * height)


def area_px(polygon: Polygon) -> float:
    return cv2.contourArea(np.array(polygon, np.int32))


@pytest.mark.parametrize("folder", ["bccd", "pbc_fields"])
def test_the_white_cells_of_real_frames_are_found(folder: str) -> None:
    for name, expected in white_cells(folder).items():
        size = PixelSize(PIXEL_SIZE_UM[folder], "option")
        cells = segment(Frame(name, read(FRAMES / folder / name), size))

        for box in expected:
            assert max(overlap(cell.box, box) for cell in cells) > 0.5, name


def test_areas_and_boxes_are_those_of_the_outlines() -> None:
    path = FRAMES / "bccd" / "BloodImage_00005.jpg"
    cells = segment(Frame(path.name, read(path), PixelSize(0.07, "option")))

    assert any(len(cell.nucleus) > 1 for cell in cells)
    for cell in cells:
        lobes = sum(area_px(lobe) for lobe in cell.nucleus)
        assert cell.area_um2 == pytest.approx(area_px(cell.outline) * 0.07**2)
        assert cell.nucleus_area_um2 == pytest.approx(lobes * 0.07**2)
        corner, end = np.min(cell.outline, axis=0), np.max(cell.outline, axis=0) + 1
        assert cell.box == Box(*corner.tolist(), *(end - corner).tolist())


def test_what_is_known_of_the_stain_is_not_learnt_again() -> None:
    path = FRAMES / "bccd" / "BloodImage_00007.jpg"
    frame = Frame(path.name, read(path), PixelSize(0.07, "option"))
    density = smoothed(Field.of(frame).density)
    shape = frame.pixels.shape[:2]
    known = calibrate(density)

    assert find_cells(density, shape, 0.07, known) == segment(frame)
    changed = replace(known, nuclear_threshold=10.0)
    assert find_cells(density, shape, 0.07, changed) == []
