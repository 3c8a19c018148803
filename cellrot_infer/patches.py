"""Cells of a frame into the patches that a model expects."""

from collections.abc import Sequence

import cv2
import numpy as np

from cellrot_infer.stain import find_glass
from cellrot_infer.types import PATCH_SIDE_PX, RGB, Cell, Floats, Frame, Patches


def cut_patches(
    frame: Frame,
    cells: Sequence[Cell],
    pixel_size_um: float,
    glass_rgb: RGB | Floats | None = None,
) -> Patches:
    """Return a patch (N, 256, 256, 3) a cell, at `pixel_size_um` per pixel.

    The cell's box is in the middle. What lies beyond the frame is filled with the glass
    around the cells: a mirrored border would give a cut cell a second nucleus, and a
    nucleus that was never there is worse than an edge. The glass has the colour
    `glass_rgb` (3,) where that is known, as it is for a part of a larger image.
    """
    patches = np.empty((len(cells), PATCH_SIDE_PX, PATCH_SIDE_PX, 3), np.uint8)
    if not cells:
        return patches
    colour = find_glass(frame.pixels).light if glass_rgb is None else glass_rgb
    glass = colour.tolist()
    side_px = PATCH_SIDE_PX * pixel_size_um / frame.pixel_size_um
    for patch, cell in zip(patches, cells, strict=True):
        box = cell.box
        columns = _window(box.x_px, box.width_px, side_px)
        rows = _window(box.y_px, box.height_px, side_px)
        patch[:] = _resample(_cut(frame.pixels, rows, columns, glass))
    return patches


def _window(start_px: int, length_px: int, side_px: float) -> tuple[int, int]:
    """Return where the window of about `side_px` around a box begins and ends.

    Its middle is exactly that of the box, so that turning or mirroring the frame turns
    or mirrors the patch; for that, both lengths are even or both odd.
    """
    parity = length_px % 2
    length = 2 * round((side_px - parity) / 2) + parity
    length = max(length, 2 - parity)
    begin = start_px + (length_px - length) // 2
    return begin, begin + length


def _cut(
    pixels: RGB, rows: tuple[int, int], columns: tuple[int, int], glass: list[float]
) -> RGB:
    height, width = pixels.shape[:2]
    (top, bottom), (left, right) = rows, columns
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    if not any(beyond):
        return inside
    framed = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT, value=glass)
    return framed.astype(np.uint8, copy=False)


def _resample(window: RGB) -> RGB:
    """Return `window` with the side of a patch; area means do not alias."""
    shrinks = min(window.shape[:2]) >= PATCH_SIDE_PX
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    side = (PATCH_SIDE_PX, PATCH_SIDE_PX)
    patch = cv2.resize(window, side, interpolation=method)
    return patch.astype(np.uint8, copy=False)
