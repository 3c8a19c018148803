"""The same cells are found however the frame was turned, lit, coloured or scaled."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cellrot_infer.frames import read_frame
from cellrot_infer.segment import segment
from cellrot_infer.stain import find_glass
from cellrot_infer.types import RGB, Box, Floats, Frame, PixelSize
from tests.infer.images import FRAMES
from tests.infer.test_segment import overlap

SAMPLES = [
    (FRAMES / "bccd" / "BloodImage_00007.jpg", 0.07),
    (FRAMES / "bccd" / "BloodImage_00031.jpg", 0.07),
    (FRAMES / "pbc_fields" / "EO_1007.jpg", 0.1),
]
EDGE_PX = 60
Light = Callable[[Floats, Floats], Floats]


def vignetted(pixels: Floats, _: Floats) -> Floats:
    height, width = pixels.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(pixels * (1 - 0.15 * (x * x + y * y))[..., None], np.float32)


def tinted(*glass: int) -> Light:
    return lambda pixels, old: np.asarray(pixels / old * np.array(glass), np.float32)


def gained(*gain: float) -> Light:
    return lambda pixels, _: np.asarray(pixels * np.array(gain), np.float32)


LIGHTS = {
    "strong red": gained(1.2, 1.0, 0.8),
    "strong blue": gained(0.8, 1.0, 1.2),
    "dim": gained(0.8, 0.8, 0.8),
    "vignetted": vignetted,
    "pink": tinted(240, 205, 220),
    "yellow": tinted(235, 225, 150),
    "green-grey": tinted(170, 190, 172),
}


def boxes(pixels: RGB, size_um: float) -> list[Box]:
    return [c.box for c in segment(Frame("", pixels, PixelSize(size_um, "option")))]


def assert_same(found: list[Box], expected: list[Box]) -> None:
    assert len(found) == len(expected) > 0
    for box in expected:
        assert max(overlap(box, other) for other in found) > 0.8


@pytest.mark.parametrize("light", LIGHTS)
def test_the_light_changes_no_cell(light: str) -> None:
    for path, size_um in SAMPLES:
        pixels = read_frame(path, pixel_size_um=size_um).pixels
        lit = LIGHTS[light](pixels.astype(np.float32), find_glass(pixels).light)
        changed = np.clip(np.rint(lit), 0, 255).astype(np.uint8)

        assert_same(boxes(changed, size_um), boxes(pixels, size_um))


def test_a_quarter_turn_turns_the_cells() -> None:
    for path, size_um in SAMPLES:
        pixels = read_frame(path, pixel_size_um=size_um).pixels
        width = pixels.shape[1]
        turned = [
            Box(b.y_px, width - b.x_px - b.width_px, b.height_px, b.width_px)
            for b in boxes(pixels, size_um)
        ]

        assert_same(boxes(np.ascontiguousarray(np.rot90(pixels)), size_um), turned)


@pytest.mark.parametrize("shape", ["round", "padded"])
def test_black_around_the_field_changes_no_cell(shape: str) -> None:
    for path, size_um in SAMPLES:
        pixels = read_frame(path, pixel_size_um=size_um).pixels
        height, width = pixels.shape[:2]
        expected, shown = boxes(pixels, size_um), pixels.copy()
        if shape == "round":
            y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            shown[x * x + y * y > 1.3] = 0
        else:
            padded = cv2.copyMakeBorder(pixels, *(EDGE_PX,) * 4, cv2.BORDER_CONSTANT)
            shown = np.asarray(padded, np.uint8)
            expected = [moved(box) for box in expected]

        assert_same(boxes(shown, size_um), expected)


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_the_cells_keep_their_size_on_the_slide(factor: float) -> None:
    for path, size_um in SAMPLES:
        pixels = read_frame(path, pixel_size_um=size_um).pixels
        scaled = cv2.resize(
            pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
        )
        expected = [
            Box(*(round(value * factor) for value in corners_of(box)))
            for box in boxes(pixels, size_um)
        ]

        assert_same(boxes(np.asarray(scaled, np.uint8), size_um / factor), expected)


def moved(box: Box) -> Box:
    return replace(box, x_px=box.x_px + EDGE_PX, y_px=box.y_px + EDGE_PX)


def corners_of(box: Box) -> tuple[int, int, int, int]:
    return box.x_px, box.y_px, box.width_px, box.height_px
