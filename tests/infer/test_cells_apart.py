"""Touching cells are two, the lobes of one nucleus are one, and the rest is no cell."""

import csv
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from cellrot_infer.segment import segment
from cellrot_infer.types import RGB, Box, Cell, Frame, PixelSize
from tests.infer.images import FRAMES, SAMPLES
from tests.infer.test_segment import PIXEL_SIZE_UM, overlap, read

UM_PX = 10  # pixels a micrometre
SIDE = 360
GLASS, RED = (228, 226, 224), (215, 160, 160)
CYTOPLASM, NUCLEUS, PLATELET = (196, 190, 214), (110, 70, 150), (170, 130, 190)
MIDDLE = SIDE / 2 / UM_PX

Colour = tuple[int, int, int]
Disc = tuple[float, float, float, Colour]  # x, y, radius in um


def painted(*discs: Disc) -> list[Cell]:
    """Return the cells of a field with these discs; later ones lie on earlier ones."""
    field = np.full((SIDE, SIDE, 3), GLASS, np.uint8)
    for corner in (3.6, 32.0):  # red cells, as every field has
        _disc(field, corner, corner, 3.6, RED)
    for disc in discs:
        _disc(field, *disc)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), 1.5), np.uint8)
    return segment(Frame("", field, PixelSize(1 / UM_PX, "option")))


def _disc(field: RGB, x: float, y: float, radius: float, colour: Colour) -> None:
    middle = round(x * UM_PX), round(y * UM_PX)
    cv2.circle(field, middle, round(radius * UM_PX), colour, -1)


def cell(x: float, y: float = MIDDLE) -> tuple[Disc, ...]:
    return (x, y, 5.5, CYTOPLASM), (x, y, 3.8, NUCLEUS)


def test_a_painted_cell_is_one_of_its_size() -> None:
    (found,) = painted(*cell(MIDDLE))

    assert found.area_um2 == pytest.approx(np.pi * 5.5**2, rel=0.1)
    assert found.nucleus_area_um2 == pytest.approx(np.pi * 3.8**2, rel=0.1)


@pytest.mark.parametrize("gap_um", [0.7, 1.0])
def test_a_whole_cell_beside_the_border_is_as_in_the_middle(gap_um: float) -> None:
    (inside,) = painted(*cell(MIDDLE))
    (beside,) = painted(*cell(MIDDLE, 5.5 + gap_um))

    assert beside.area_um2 == pytest.approx(inside.area_um2, rel=0.01)
    assert beside.quality == pytest.approx(inside.quality, abs=0.01)
    assert not beside.touches_border


def test_cells_come_from_top_to_bottom() -> None:
    upper, lower = painted(*cell(10.0, 25.0), *cell(27.0, 11.0))

    assert upper.box.y_px < lower.box.y_px


@pytest.mark.parametrize("off_um", [-2.0, 4.0, 7.5])
@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_cell_is_flagged_where_a_side_of_the_frame_cuts_it(
    side: str, off_um: float
) -> None:
    place = off_um if side in ("left", "top") else SIDE / UM_PX - off_um
    x, y = (place, MIDDLE) if side in ("left", "right") else (MIDDLE, place)

    (found,) = painted(*cell(x, y))

    assert found.touches_border == (off_um < 5.5)


def test_a_ragged_outline_is_trusted_less() -> None:
    turns = 2 * np.pi * np.arange(3) / 3
    arms = [
        (MIDDLE + 5.5 * np.cos(turn), MIDDLE + 5.5 * np.sin(turn), 2.6, CYTOPLASM)
        for turn in turns
    ]

    disc, nucleus = (MIDDLE, MIDDLE, 5.0, CYTOPLASM), (MIDDLE, MIDDLE, 3.5, NUCLEUS)

    (smooth,), (ragged,) = painted(disc, nucleus), painted(disc, *arms, nucleus)

    assert smooth.quality > 0.9
    assert 0.5 < ragged.quality < 0.75


@pytest.mark.parametrize("apart_um", [10.3, 11.0])
def test_touching_cells_are_two(apart_um: float) -> None:
    first, second = MIDDLE - apart_um / 2, MIDDLE + apart_um / 2

    found = painted(*cell(first), *cell(second))

    assert len(found) == 2
    for each in found:
        assert each.area_um2 == pytest.approx(np.pi * 5.5**2, rel=0.25)


@pytest.mark.parametrize("lobes", [2, 3, 4])
def test_the_lobes_of_a_nucleus_are_one_cell(lobes: int) -> None:
    turns = 2 * np.pi * np.arange(lobes) / lobes
    nuclei = [
        (MIDDLE + 3.2 * np.cos(turn), MIDDLE + 3.2 * np.sin(turn), 1.7, NUCLEUS)
        for turn in turns
    ]

    (found,) = painted((MIDDLE, MIDDLE, 6.0, CYTOPLASM), *nuclei)

    assert len(found.nucleus) == lobes


def test_a_nucleus_ends_where_its_own_dark_cytoplasm_begins() -> None:
    blue = (MIDDLE, 9.0, 5.5, (130, 110, 185)), (MIDDLE, 9.0, 3.8, (100, 60, 140))

    found, _ = painted(*blue, *cell(MIDDLE, 26.0))

    assert found.nucleus_area_um2 == pytest.approx(np.pi * 3.8**2, rel=0.1)


REJECTED: dict[str, list[Disc]] = {
    "red cells": [(10.0, MIDDLE, 3.6, RED), (16.0, MIDDLE, 3.6, RED)],
    "a platelet": [(MIDDLE, MIDDLE, 1.5, PLATELET)],
    "a platelet on a red cell": [
        (MIDDLE, MIDDLE, 3.6, RED),
        (MIDDLE, MIDDLE, 1.4, PLATELET),
    ],
    "a platelet at the border": [(0.3, MIDDLE, 1.7, PLATELET)],
    "precipitate": [
        (8 + 1.8 * (n % 10), 14 + 2 * (n // 10), 0.4, (60, 20, 80)) for n in range(40)
    ],
    "a folded red cell": [
        (MIDDLE, MIDDLE, 3.6, RED),
        (MIDDLE, MIDDLE, 2.4, (147, 80, 81)),
    ],
    "a smudge": [(MIDDLE, MIDDLE, 6.0, (205, 196, 214))],
}


@pytest.mark.parametrize("kind", REJECTED)
def test_what_is_no_nucleated_cell_is_not_taken_for_one(kind: str) -> None:
    alone = painted(*REJECTED[kind])
    beside = painted(*REJECTED[kind], *cell(MIDDLE, 28.0))

    assert alone == []
    assert len(beside) == 1


def test_a_blotch_hardly_darker_than_where_nuclei_begin_is_no_nucleus() -> None:
    disc = (MIDDLE, 9.0, 3.6, CYTOPLASM)
    weak, strong = (MIDDLE, 9.0, 2.4, (146, 106, 165)), (MIDDLE, 9.0, 2.4, NUCLEUS)

    assert len(painted(disc, weak, *cell(MIDDLE, 25.0))) == 1
    assert len(painted(disc, strong, *cell(MIDDLE, 25.0))) == 2


def other_boxes(folder: str) -> Iterator[tuple[str, Box]]:
    """Yield the frame and the box of each red cell and platelet of the samples."""
    with (FRAMES / folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["label"] != "wbc":
                yield row["frame"], Box(*(round(float(row[key])) for key in "xywh"))


@pytest.mark.parametrize("folder", ["bccd", "pbc_fields"])
def test_no_red_cell_and_no_platelet_of_real_frames_is_found(folder: str) -> None:
    size = PixelSize(PIXEL_SIZE_UM[folder], "option")
    others = list(other_boxes(folder))
    for name in {name for name, _ in others}:
        found = segment(Frame(name, read(FRAMES / folder / name), size))
        boxes = [box for frame, box in others if frame == name]
        assert all(overlap(c.box, box) < 0.5 for c in found for box in boxes), name


@pytest.mark.parametrize("kind", ["segmented_neutrophil", "band_neutrophil"])
def test_a_neutrophil_of_real_patches_is_one_cell(kind: str) -> None:
    paths = sorted((SAMPLES / kind).iterdir())
    assert paths
    for path in paths:
        cells = segment(Frame(path.name, read(path), PixelSize(0.1, "option")))
        around = [c for c in cells if _holds(c.box, 128, 128)]
        assert len(around) == 1, path.name


def _holds(box: Box, x: int, y: int) -> bool:
    across = box.x_px <= x < box.x_px + box.width_px
    return across and box.y_px <= y < box.y_px + box.height_px
