"""Thumbnails show the cell, in its pose, in its colours."""

import math

import cv2
import numpy as np
import pytest

from cellrot_infer.types import RGB
from cellrot_infer.writers.thumbnail import preview, thumbnail
from tests.infer.slides import patch_of

PATCH = patch_of(0)
JPEG_NOISE = 4.0  # mean absolute difference of intensities that JPEG may cost


def decoded(data: bytes) -> RGB:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(image, np.uint8)


def difference(one: RGB, other: RGB) -> float:
    side = one.shape[0]
    along = np.arange(side) - (side - 1) / 2
    disc = np.hypot(along[:, None], along) < 0.48 * side
    return float(np.abs(one[disc].astype(float) - other[disc]).mean())


def test_a_thumbnail_is_the_patch_made_small() -> None:
    small = cv2.resize(PATCH, (160, 160), interpolation=cv2.INTER_AREA)
    assert difference(decoded(thumbnail(PATCH)), np.asarray(small, np.uint8)) < 4


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_cell_that_was_turned_is_turned_back(quarters: int) -> None:
    turned = np.ascontiguousarray(np.rot90(PATCH, quarters))  # counter-clockwise

    upright = decoded(thumbnail(turned, quarters * math.pi / 2))

    assert difference(upright, decoded(thumbnail(PATCH))) < JPEG_NOISE


def test_the_check_sees_a_turn_the_wrong_way() -> None:
    turned = np.ascontiguousarray(np.rot90(PATCH))

    wrong = decoded(thumbnail(turned, -math.pi / 2))

    assert difference(wrong, decoded(thumbnail(PATCH))) > 2 * JPEG_NOISE


def test_corners_that_a_turn_leaves_empty_are_white() -> None:
    assert decoded(thumbnail(PATCH, 0.4))[0, 0].min() > 240


def test_five_thousand_thumbnails_leave_room_for_the_rest_of_the_page() -> None:
    sizes = [len(thumbnail(patch_of(index))) for index in range(60)]
    assert sum(sizes) / len(sizes) * 5000 * 4 / 3 < 32e6


@pytest.mark.parametrize("shape", [(480, 640, 3), (3000, 40, 3), (1, 1, 3)])
def test_a_preview_keeps_the_shape_of_the_frame(shape: tuple[int, ...]) -> None:
    height, width = decoded(preview(np.full(shape, 200, np.uint8))).shape[:2]

    assert max(height, width) == min(960, max(shape[:2]))
    assert abs(width / height - shape[1] / shape[0]) <= 0.05 * shape[1] / shape[0]
