"""Red cells tell the pixel size, whole or overlapping, and say how sure that is."""

import csv
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer.frames import DOUBTFUL, read_frame
from cellrot_infer.scale import RED_CELL_UM, VISIBLE, estimate_pixel_size
from cellrot_infer.types import RGB, Floats
from tests.infer.images import FRAMES
from tests.infer.test_segment import read

GLASS, RED = (228, 230, 226), (205, 150, 150)
Disc = tuple[int, int, int]  # x, y, radius


def painted(*discs: Disc, side: int = 400) -> RGB:
    """Return a field of round red cells; where they overlap they are darker."""
    layers = np.zeros((side, side), np.float32)
    for x, y, radius in discs:
        disc = np.zeros((side, side), np.uint8)
        layers += cv2.circle(disc, (x, y), radius, 1, -1)
    glass, red = np.array(GLASS, np.float32), np.array(RED, np.float32)
    light: Floats = glass * (red / glass) ** layers[..., None]
    soft = cv2.GaussianBlur(light, (0, 0), 1.0)
    return np.asarray(np.rint(soft), np.uint8)


def size_um(radius_px: float) -> float:
    return RED_CELL_UM / (VISIBLE * 2 * radius_px)


def sides_px(folder: Path) -> dict[str, list[float]]:
    """Return the mean sides of the boxes of red cells off the border, by frame."""
    sides = defaultdict(list)
    with (folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            x, y, width, height = (float(row[key]) for key in "xywh")
            if row["label"] == "rbc" and min(x, y) > 2:
                sides[row["frame"]].append((width + height) / 2)
    return sides


@pytest.mark.parametrize("folder", ["bccd", "pbc_fields"])
def test_the_size_is_that_by_the_boxes_that_people_drew(folder: str) -> None:
    errors = []
    for name, sides in sides_px(FRAMES / folder).items():
        found = estimate_pixel_size(read(FRAMES / folder / name))
        assert found is not None
        errors.append(abs(found.um * np.median(sides) / RED_CELL_UM - 1))

    assert np.median(errors) < 0.15
    assert max(errors) < 0.25


def test_cells_that_overlap_tell_the_size_of_one() -> None:
    chain = [(60 + 50 * n, 200 + 20 * (n % 2), 40) for n in range(6)]

    found = estimate_pixel_size(painted(*chain))

    assert found is not None
    assert found.um == pytest.approx(size_um(40), rel=0.08)


def test_more_red_cells_make_it_surer() -> None:
    rows = [(60 + 90 * x, 60 + 90 * y, 36) for x in range(4) for y in range(4)]

    few, many = (estimate_pixel_size(painted(*rows[:n])) for n in (1, 16))

    assert few is not None
    assert many is not None
    assert many.spread == pytest.approx(few.spread / 4, rel=0.1)


def test_a_size_that_cameras_have_is_believed_sooner_than_a_large_arc() -> None:
    halves = [(0, 60, 36), (0, 160, 36), (0, 260, 36)]

    found = estimate_pixel_size(painted(*halves, (399, 200, 110)))

    assert found is not None
    assert found.um == pytest.approx(size_um(36), rel=0.1)


def test_small_red_cells_of_a_large_field_are_looked_at_more_closely() -> None:
    cells = [(820 + 90 * x, 820 + 90 * y, 12) for x in range(5) for y in range(5)]

    found = estimate_pixel_size(painted(*cells, side=2000))

    assert found is not None
    assert found.um == pytest.approx(size_um(12), rel=0.1)


def test_cells_of_a_few_pixels_tell_nothing() -> None:
    cells = [(60 + 30 * x, 60 + 30 * y, 4) for x in range(10) for y in range(10)]

    assert estimate_pixel_size(painted(*cells)) is None


def test_the_size_is_that_on_which_most_of_the_area_agrees() -> None:
    large = [(70, 70, 54), (200, 70, 54), (330, 70, 54)]
    small = [(40 + 70 * n, 250, 21) for n in range(5)]

    found = estimate_pixel_size(painted(*large, *small))

    assert found is not None
    assert found.um == pytest.approx(size_um(54), rel=0.1)


def test_oval_cells_tell_the_mean_of_their_radii() -> None:
    cells = [(60 + 90 * x, 60 + 90 * y, 33) for x in range(4) for y in range(4)]
    oval = cv2.resize(painted(*cells), None, fx=1.2, fy=1)

    found = estimate_pixel_size(np.asarray(oval, np.uint8))

    assert found is not None
    assert found.um == pytest.approx(size_um(33 * 1.1), rel=0.04)


def test_cells_that_differ_make_it_less_sure() -> None:
    places = [(60 + 90 * x, 60 + 90 * y) for x in range(4) for y in range(4)]
    alike = [(x, y, 36) for x, y in places]
    unlike = [(x, y, 30 + 10 * (n % 2)) for n, (x, y) in enumerate(places)]

    one, other = (estimate_pixel_size(painted(*discs)) for discs in (alike, unlike))

    assert one is not None
    assert other is not None
    assert other.spread > 1.1 * one.spread


def test_a_size_told_by_hardly_any_red_cell_has_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), painted((0, 200, 36))[..., ::-1])

    frame = read_frame(path)

    assert frame.pixel_size.spread > DOUBTFUL
    assert frame.warnings[0].startswith("few red cells tell the pixel size, 0.0")
    assert read_frame(path, pixel_size_um=0.1).warnings == ()
