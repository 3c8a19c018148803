"""Patches show the cell in the middle, at the scale of the model, however it lies."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.frames import read_frame
from cellrot_infer.patches import cut_patches
from cellrot_infer.types import RGB, Box, Cell, Frame, PixelSize
from tests.infer.images import FRAMES

GLASS = 230
FIELD = read_frame(FRAMES / "bccd" / "BloodImage_00007.jpg", pixel_size_um=0.07).pixels


def cell(x_px: int, y_px: int, width_px: int, height_px: int) -> Cell:
    box = Box(x_px, y_px, width_px, height_px)
    return Cell(box, (), (), 1.0, 1.0, touches_border=False, quality=1.0)


def frame(pixels: RGB, pixel_size_um: float = 0.1) -> Frame:
    return Frame("frame", pixels, PixelSize(pixel_size_um, "option"))


def disc(side_px: int, radius_px: float, centre_px: tuple[float, float]) -> RGB:
    pixels = np.full((side_px, side_px, 3), GLASS, np.uint8)
    x, y = np.meshgrid(np.arange(side_px) + 0.5, np.arange(side_px) + 0.5)
    pixels[np.hypot(x - centre_px[0], y - centre_px[1]) < radius_px] = 60
    return pixels


def test_no_cells_give_no_patches() -> None:
    assert cut_patches(frame(FIELD), [], 0.1).shape == (0, 256, 256, 3)


def test_at_the_model_s_scale_a_patch_is_the_frame_itself() -> None:
    (patch,) = cut_patches(frame(FIELD), [cell(200, 150, 80, 60)], 0.1)

    assert np.array_equal(patch, FIELD[52:308, 112:368])


@pytest.mark.parametrize("pixel_size_um", [0.05, 0.07, 0.1, 0.14, 0.25])
def test_a_cell_has_the_same_size_in_the_patch_from_any_camera(
    pixel_size_um: float,
) -> None:
    radius_px = 6.0 / pixel_size_um
    side_px = round(40 / pixel_size_um)
    middle = side_px // 2
    pixels = disc(side_px, radius_px, (middle, middle))
    box = cell(middle - 20, middle - 20, 40, 40)

    (patch,) = cut_patches(frame(pixels, pixel_size_um), [box], 0.1)

    dark = patch[..., 0] < (GLASS + 60) / 2
    assert np.sqrt(dark.sum() / np.pi) == pytest.approx(60, rel=0.02)
    y, x = np.nonzero(dark)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx((128, 128), abs=1)


boxes = st.builds(
    cell, st.integers(0, 600), st.integers(0, 440), st.integers(1, 200),
    st.integers(1, 200),
)  # fmt: skip


@given(boxes, st.sampled_from([0.05, 0.0731, 0.1, 0.1283, 0.2]))
def test_turning_the_frame_turns_the_patch(box: Cell, pixel_size_um: float) -> None:
    x, y = box.box.x_px, box.box.y_px
    width, height = box.box.width_px, box.box.height_px
    turned_box = cell(y, FIELD.shape[1] - x - width, height, width)

    (patch,) = cut_patches(frame(FIELD, pixel_size_um), [box], 0.1)
    turned_frame = frame(np.rot90(FIELD).copy(), pixel_size_um)
    (turned,) = cut_patches(turned_frame, [turned_box], 0.1)

    # resampling rounds along x before y: one grey level, where it rounds at all
    assert np.abs(np.rot90(patch).astype(int) - turned).max() <= 1


def test_shrinking_does_not_alias() -> None:
    stripes = np.full((800, 800, 3), GLASS, np.uint8)
    stripes[:, ::2] = 0

    (patch,) = cut_patches(frame(stripes, 0.05), [cell(350, 350, 100, 100)], 0.1)

    assert np.abs(patch.astype(int) - GLASS // 2).max() <= 1


def test_beyond_the_border_is_glass_and_no_second_nucleus() -> None:
    pixels = disc(400, 50, (0, 200))  # half of the nucleus is outside

    (patch,) = cut_patches(frame(pixels), [cell(0, 150, 50, 100)], 0.1)

    dark = (patch[..., 0] < 100).astype(np.uint8)
    assert cv2.connectedComponents(dark)[0] == 2  # glass, one nucleus
    assert dark.sum() == pytest.approx(np.pi * 50**2 / 2, rel=0.02)
    assert np.abs(patch[:, :100].astype(int) - GLASS).max() <= 3


def test_a_frame_smaller_than_a_patch_is_surrounded_by_glass() -> None:
    pixels = disc(40, 15, (20, 20))

    (patch,) = cut_patches(frame(pixels), [cell(0, 0, 40, 40)], 0.1)

    assert np.array_equal(patch[108:148, 108:148], pixels)
