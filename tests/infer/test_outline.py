"""An outline lies where its mask does, at any scale and in any part of a frame."""

import cv2
import numpy as np
import pytest

from cellrot_infer.outline import CORNER_ERROR_UM, polygons
from cellrot_infer.regions import WORKING_PIXEL_UM

GRID = (60, 90)  # rows, columns


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 2.9, 7.0])
@pytest.mark.parametrize("corner", [(0, 0), (13, 41)])
def test_an_outline_is_where_its_mask_is(scale: float, corner: tuple[int, int]) -> None:
    mask = np.zeros((40, 44), bool)
    mask[8:28, 12:36] = True
    row, column = corner
    window = slice(row, row + 40), slice(column, column + 44)
    frame = GRID[0] * scale, GRID[1] * scale

    (outline,) = polygons(mask, window, GRID, frame)
    error_px = CORNER_ERROR_UM / WORKING_PIXEL_UM * scale

    x, y, width, height = cv2.boundingRect(np.array(outline, np.int32))
    assert x + width / 2 == pytest.approx((column + 24) * scale, abs=0.75)
    assert y + height / 2 == pytest.approx((row + 18) * scale, abs=0.75)
    sides_px = 24 * scale, 20 * scale
    assert (width, height) == pytest.approx(sides_px, abs=1.5 + 2 * error_px)


def test_an_outline_has_few_corners_and_still_the_shape_of_its_mask() -> None:
    mask = np.zeros((60, 90), np.uint8)
    cv2.ellipse(mask, (45, 30), (35, 22), 30, 0, 360, 1, -1)
    window = slice(0, 60), slice(0, 90)

    (outline,) = polygons(mask > 0, window, GRID, (120, 180))

    filled = np.zeros((120, 180), np.uint8)
    cv2.fillPoly(filled, [outline], 1)
    twice = cv2.resize(mask, (180, 120), interpolation=cv2.INTER_NEAREST)
    assert len(outline) < 50
    assert cv2.contourArea(outline) == pytest.approx(int(twice.sum()), rel=0.02)
    assert np.count_nonzero(filled != twice) < 0.03 * twice.sum()
