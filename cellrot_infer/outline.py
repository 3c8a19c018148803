"""The outline of one cell within its body: half way down to its surroundings."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer import stain
from cellrot_infer.cytoplasm import (
    FULL_DYE,
    LEAST_RING_PX,
    NECK_REST_UM,
    Scene,
    without_necks,
)
from cellrot_infer.regions import (
    WORKING_PIXEL_UM,
    Window,
    bounds,
    closed,
    components,
    depth_um,
    dilated,
    eroded,
    filled,
    opened,
    within,
)
from cellrot_infer.types import Floats, Mask

MARGIN_UM = 2.0  # around a body, so that its edges are seen
THREAD_UM = 0.8
NOTCH_UM = 1.0  # what is narrower than twice this is no bay of the outline
EDGE_UM = 0.5  # the outline is drawn within this of the body
LAST_THREAD_UM = 0.6
LEVEL_BLUR_UM = 0.8  # over which the dye just inside of the outline is averaged
EDGE_LEVEL = 0.42  # of the dye inside; where people draw the outline
CYTOPLASM_UM = (0.5, 2.0)  # from the nucleus
CORNER_ERROR_UM = 0.07  # a third of what a microscope resolves
DARKEST_CYTOPLASM = 1.4  # of its median; more are granules and the nucleus


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A cell and its nucleus as masks of one window of the frame."""

    window: Window
    cell: Mask
    nucleus: Mask


def draw_cell(
    scene: Scene, body: Mask, own: Mask, nucleus: Mask, window: Window
) -> Drawn:
    """Return the cell around a `nucleus` within its `body`.

    All masks are of the `window`; `own` is what is nearer to this nucleus than to
    others. The hull of a nucleus in lobes is cell, however pale, unless it is red.
    """
    hull = _hull(nucleus) & ~scene.red[window]
    cell = (body | hull) & own | nucleus
    crop = bounds(cell, MARGIN_UM)
    window = within(window, crop)
    cell, own, nucleus = cell[crop], own[crop], nucleus[crop]

    cell = _around(opened(cell, THREAD_UM), nucleus)
    beside = dilated(nucleus, NECK_REST_UM)
    cell = _around(without_necks(cell, beside), nucleus)
    cell = filled(closed(cell, NOTCH_UM) & own | nucleus)
    density = scene.density[window]
    cell = _to_the_edge(cell, nucleus, stain.total_dye(density))
    return Drawn(window, cell, cell & nucleus)


def _to_the_edge(cell: Mask, nucleus: Mask, dye: Floats) -> Mask:
    """Return `cell` up to where its dye falls to a share of that just inside."""
    depth = depth_um(~nucleus)
    cytoplasm = cell & (depth > CYTOPLASM_UM[0]) & (depth < CYTOPLASM_UM[1])
    fullest = FULL_DYE
    if np.count_nonzero(cytoplasm) > 2 * LEAST_RING_PX:
        usual = float(np.median(dye[cytoplasm]))
        fullest = min(FULL_DYE, DARKEST_CYTOPLASM * usual)
    dye = np.minimum(dye, np.float32(fullest))
    inner = eroded(cell, EDGE_UM)
    weight = inner.astype(np.float32)
    sigma_px = LEVEL_BLUR_UM / WORKING_PIXEL_UM
    level = stain.blurred(dye * weight, sigma_px)
    level /= np.maximum(stain.blurred(weight, sigma_px), 1e-3)
    edge = opened(cell & (inner | (dye > EDGE_LEVEL * level)), LAST_THREAD_UM)
    return filled(_around(edge | inner, nucleus))


def _around(cell: Mask, nucleus: Mask) -> Mask:
    """Return the connected part of both that holds most of the nucleus."""
    parts = components(cell | nucleus)
    overlap = np.bincount(parts.labels[nucleus], minlength=len(parts))
    around: Mask = parts.labels == int(overlap.argmax())
    return around


def _hull(mask: Mask) -> Mask:
    points = cv2.findNonZero(mask.view(np.uint8))
    hull = np.zeros(mask.shape, np.uint8)
    if points is not None:
        cv2.drawContours(hull, [cv2.convexHull(points)], -1, 1, -1)
    return hull > 0


Size = tuple[float, float]  # height, width
Points = NDArray[np.int32]  # (N, 2): x, y


def polygons(mask: Mask, window: Window, grid: Size, frame: Size) -> list[Points]:
    """Return the outer outlines of `mask` in pixels of the frame.

    The mask is of a `window` of a `grid` of so many rows and columns over a `frame` of
    so many; the outline is smooth between the points of the grid, and has as few
    corners as `CORNER_ERROR_UM` allows.
    """
    full = np.array(frame[::-1])
    scale = full / grid[::-1]
    corner = np.array([window[1].start, window[0].start])
    first = np.floor(corner * scale)
    size = np.minimum(np.ceil(np.array(mask.shape[::-1]) * scale) + 1, full - first)
    offset = (first + 0.5) / scale - 0.5 - corner  # pixel centres lie on pixel centres
    to_mask = np.array([[1 / scale[0], 0, offset[0]], [0, 1 / scale[1], offset[1]]])
    soft = stain.blurred(mask.astype(np.float32), 1.0)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    width, height = (int(side) for side in size)
    fine = cv2.warpAffine(
        soft, to_mask, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    contours, _ = cv2.findContours(
        (fine > 0.5).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    error_px = CORNER_ERROR_UM / WORKING_PIXEL_UM * float(scale[0])
    return [
        _few_corners(np.asarray(contour, np.int32), error_px) + first.astype(np.int32)
        for contour in contours
        if len(contour) > 2
    ]


def _few_corners(contour: Points, error_px: float) -> Points:
    fewer = np.asarray(cv2.approxPolyDP(contour, error_px, True), np.int32)
    return (fewer if len(fewer) > 2 else contour)[:, 0]
