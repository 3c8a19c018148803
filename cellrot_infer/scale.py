"""The pixel size of a frame, judged by its red cells: 7.2 micrometres across."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer import stain
from cellrot_infer.types import RGB, Floats, PixelSize

RED_CELL_UM = 7.2
MEASURING_SIDE_PX = 512
SMALLEST_RED_CELL_PX = 6.0  # at the measuring size
FEWEST_RED_CELLS = 4
DIAMETERS_PX = np.geomspace(4, 400, 400).astype(np.float32)
KERNEL = 0.08  # relative width of the smoothing of the diameters
INSCRIBED = 0.87  # inscribed circle against the diameter, measured on red cells


def estimate_pixel_size(pixels: RGB) -> PixelSize | None:
    """Return the pixel size that makes the red cells 7.2 um, None if they do not tell.

    `spread` is the relative standard error of the mean of the red cells that agree.
    """
    factor = min(1.0, MEASURING_SIDE_PX / max(pixels.shape[:2]))
    diameters_px = red_cell_diameters(stain.shrink(pixels, factor))
    if len(diameters_px) < FEWEST_RED_CELLS:
        return None
    typical = _mode(diameters_px)
    near = diameters_px[np.abs(np.log(diameters_px / typical)) < 0.3]
    if len(near) < FEWEST_RED_CELLS:
        return None
    spread = float(np.std(near) / typical / np.sqrt(len(near)))
    return PixelSize(RED_CELL_UM / typical * factor, "red cells", spread)


def red_cell_diameters(pixels: RGB) -> Floats:
    """Return the diameters in pixels of what may be red cells, (N,)."""
    density = stain.optical_density(pixels, stain.find_glass(pixels))
    density = stain.blurred(density, 1.0)
    total = np.clip(density.sum(axis=2), 0, 0.5)
    threshold = max(0.06, 0.75 * stain.two_class_threshold(total, 0, 0.5))
    nuclear = stain.nuclear_stain(density) > 0.3
    discs = _filled((total > threshold).astype(np.uint8)) & ~nuclear
    depth = cv2.distanceTransform(discs.astype(np.uint8), cv2.DIST_L2, 5)
    depth = stain.blurred(np.asarray(depth, np.float32), 2.0)
    peaks = depth == cv2.dilate(depth, np.ones((9, 9), np.uint8))
    ys, xs = np.nonzero(peaks & (depth > SMALLEST_RED_CELL_PX / 2))
    radii = depth[ys, xs]
    height, width = depth.shape
    inside = (np.minimum(xs, width - xs) > radii) & (
        np.minimum(ys, height - ys) > radii
    )
    diameters: Floats = 2 * radii[inside] / INSCRIBED
    return diameters


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask with its round holes filled: the pale centres of red cells."""
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    filled = mask.copy()
    for contour, links in zip(contours, tree[0] if contours else (), strict=True):
        hull = cv2.contourArea(cv2.convexHull(contour))
        if links[3] >= 0 and cv2.contourArea(contour) > 0.85 * hull:
            cv2.drawContours(filled, [contour], -1, 1, -1)
    return filled > 0


def _mode(diameters_px: Floats) -> float:
    """Return the most common diameter, each weighted by itself: platelets are many."""
    away = np.log(DIAMETERS_PX[:, None] / diameters_px[None])
    density = np.exp(-0.5 * (away / KERNEL) ** 2) @ diameters_px
    return float(DIAMETERS_PX[int(density.argmax())])
