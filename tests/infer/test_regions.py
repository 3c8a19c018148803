"""Parts of a mask are measured as OpenCV measures them, only later."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrot_infer.regions import (
    KERNELS_TO_UM,
    PIXEL_UM2,
    components,
    depth_um,
    dilated,
    eroded,
)
from cellrot_infer.types import Mask

masks = arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


@given(masks)
def test_boxes_and_areas_are_those_of_the_parts(mask: Mask) -> None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))

    parts = components(mask)

    assert len(parts) == count
    assert (parts.labels == labels).all()
    assert (parts.boxes[1:] == stats[1:, :4]).all()
    assert parts.areas_um2 == pytest.approx(stats[:, 4] * PIXEL_UM2)


def test_a_part_in_the_hole_of_another_has_a_box_of_its_own() -> None:
    ring = np.ones((9, 9), bool)
    ring[2:7, 2:7] = False
    ring[4, 4] = True

    parts = components(ring)

    assert parts.boxes[1:].tolist() == [[0, 0, 9, 9], [4, 4, 1, 1]]


large_masks = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(large_masks, st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.8, 1.0]))
def test_small_discs_reach_as_far_as_distances_do(mask: Mask, radius_um: float) -> None:
    assert radius_um <= KERNELS_TO_UM
    mask[0, 0] = False  # else OpenCV has nothing to measure the distance to

    assert (eroded(mask, radius_um) == (depth_um(mask) > radius_um)).all()
    assert (dilated(~mask, radius_um) == (depth_um(mask) <= radius_um)).all()
