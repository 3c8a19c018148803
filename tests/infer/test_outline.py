"""An outline lies where its mask does, at any scale and in any part of a frame."""

import cv2
import numpy as np
import pytest

from cellrot_infer.outline import polygons

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

    x, y, width, height = cv2.boundingRect(np.array(outline, np.int32))
    assert x + width / 2 == pytest.approx((column + 24) * scale, abs=0.75)
    assert y + height / 2 == pytest.approx((row + 18) * scale, abs=0.75)
    assert (width, height) == pytest.approx((24 * scale, 20 * scale), abs=1.5)
