"""Outlines to look at: as few corners as the eye needs."""

from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.types import Cell, Polygon

LINE_ERROR_PX = 0.6  # of an outline that is drawn; no eye sees it

Corners = NDArray[np.int32]  # (N, 2), x and y in pixels


def corners_of(polygon: Polygon) -> Corners:
    """Return `polygon` as an array."""
    return np.fromiter(chain.from_iterable(polygon), np.int32).reshape(-1, 2)


def drawn_outline(cell: Cell, times: int = 1) -> Corners:
    """Return those corners of `cell` that one sees where `times` pixels become one.

    A cell without an outline is drawn as its box.
    """
    corners = corners_of(cell.outline or cell.box.corners)
    fewer = cv2.approxPolyDP(corners, LINE_ERROR_PX * times, True)[:, 0]
    return np.asarray(fewer, np.int32)
