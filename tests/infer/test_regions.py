"""Parts of a mask are measured as OpenCV measures them, only later."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrot_infer.regions import PIXEL_UM2, components
from cellrot_infer.types import Mask

masks = arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


@given(masks)
def test_boxes_and_areas_are_those_of_the_parts(mask: Mask) -> None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))

    parts = components(mask)

    assert len(parts) == count
    assert (parts.labels == labels).all()
    assert (parts.boxes[1:] == stats[1:, :4]).all()
    assert parts.areas_um2[1:] == pytest.approx(stats[1:, 4] * PIXEL_UM2)


def test_a_part_in_the_hole_of_another_has_a_box_of_its_own() -> None:
    ring = np.ones((9, 9), bool)
    ring[2:7, 2:7] = False
    ring[4, 4] = True

    parts = components(ring)

    assert parts.boxes[1:].tolist() == [[0, 0, 9, 9], [4, 4, 1, 1]]
