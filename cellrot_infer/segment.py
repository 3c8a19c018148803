"""Find the nucleated cells of a frame: nuclei first, then the cytoplasm around them.

All lengths are micrometres, the same for every laboratory; what is measured anew in
each frame is its light and its stain (see `stain`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer import stain
from cellrot_infer.types import Box, Cell, Floats, Frame, Mask, Polygon

WORKING_PIXEL_UM = 0.2  # fine enough for an outline, coarse enough to be fast
SMOOTHING_UM = 0.24
FAINTEST_NUCLEUS = 0.13  # nuclear stain, in decades; less is no nucleus in any stain
SPECK_UM = 0.5  # what is thinner than twice this is no nucleus
LOBE_GAP_UM = 1.0  # nuclei within twice this are lobes of one
SMALLEST_NUCLEUS_UM2 = 10.0
CYTOPLASM_REACH_UM = 5.0
RED_CELLS_FROM_UM = (
    3.0  # further than this from a nucleus is mostly red cells and glass
)
THREAD_UM = 1.0  # what is thinner than twice this is no cytoplasm

Labels = NDArray[np.int32]  # (H, W), 0 where no cell is


def segment(frame: Frame) -> list[Cell]:
    """Return the nucleated cells of `frame` in reading order, line by line of cells.

    Cells at the border of the frame are kept and flagged. The same frame gives the same
    cells.
    """
    factor = frame.pixel_size_um / WORKING_PIXEL_UM
    small = stain.shrink(frame.pixels, factor)
    density = stain.optical_density(small, stain.white_point(small))
    blur_px = SMOOTHING_UM / WORKING_PIXEL_UM
    density = np.asarray(cv2.GaussianBlur(density, (0, 0), blur_px), np.float32)
    nuclei = label_nuclei(stain.nuclear_stain(density))
    if not nuclei.any():
        return []
    territory, cytoplasm = cell_bodies(density, nuclei)
    found = (
        _cell(nuclei == number, (territory == number) & cytoplasm, frame)
        for number in range(1, int(nuclei.max()) + 1)
    )
    return sorted((cell for cell in found if cell), key=_reading_order)


def label_nuclei(score: Floats) -> Labels:
    """Return the nuclei numbered from 1; the lobes of one nucleus share a number."""
    stained = score[score > FAINTEST_NUCLEUS / 2]
    if stained.size < 50:
        return np.zeros(score.shape, np.int32)
    top = max(float(np.percentile(stained, 99)), 0.2)
    threshold = stain.two_class_threshold(stained, FAINTEST_NUCLEUS / 2, top)
    mask = (score > max(threshold, FAINTEST_NUCLEUS)).astype(np.uint8)
    mask = _closed(_opened(mask, SPECK_UM), SPECK_UM)
    _, labels = cv2.connectedComponents(cv2.dilate(mask, _disc(LOBE_GAP_UM)))
    return _without_small((labels * mask).astype(np.int32), SMALLEST_NUCLEUS_UM2)


def cell_bodies(density: Floats, nuclei: Labels) -> tuple[Labels, Mask]:
    """Return the nearest nucleus of each pixel, and where cytoplasm or nucleus is."""
    outside = (nuclei == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    distance_um = distance * WORKING_PIXEL_UM
    number_of = np.zeros(int(nearest.max()) + 1, np.int32)
    number_of[nearest[nuclei > 0]] = nuclei[nuclei > 0]

    far = distance_um > RED_CELLS_FROM_UM
    axis = stain.red_cell_axis(density, far & (density.sum(axis=2) > 0.1))
    dyed = stain.off_axis(density, axis)
    threshold = max(0.02, 2 * float(np.median(dyed[far]))) if far.any() else 0.03
    body = (dyed > threshold) & (distance_um < CYTOPLASM_REACH_UM) | (nuclei > 0)
    return number_of[nearest], body


def _cell(nucleus: Mask, body: Mask, frame: Frame) -> Cell | None:
    opened = _opened(body.astype(np.uint8), THREAD_UM)
    outlines = sorted(_polygons(opened, frame), key=_area_px, reverse=True)[:1]
    if not outlines:
        return None
    lobes = tuple(_polygons(nucleus.astype(np.uint8), frame))
    pixel_um2 = frame.pixel_size_um**2
    box = _box(outlines[0])
    return Cell(
        box=box,
        outline=outlines[0],
        nucleus=lobes,
        area_um2=_area_px(outlines[0]) * pixel_um2,
        nucleus_area_um2=sum(map(_area_px, lobes)) * pixel_um2,
        touches_border=_touches_border(box, frame),
        quality=1.0,
    )


def _polygons(mask: NDArray[np.uint8], frame: Frame) -> list[Polygon]:
    """Return the outer outlines of `mask` in pixels of the frame."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    height, width = frame.pixels.shape[:2]
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    return [
        tuple((int(x), int(y)) for x, y in np.rint((c[:, 0] + 0.5) * scale - 0.5))
        for c in contours
        if len(c) > 2
    ]


def _area_px(polygon: Polygon) -> float:
    return float(cv2.contourArea(np.array(polygon, np.int32)))


def _box(polygon: Polygon) -> Box:
    x, y, width, height = cv2.boundingRect(np.array(polygon, np.int32))
    return Box(x, y, width, height)


def _touches_border(box: Box, frame: Frame) -> bool:
    height, width = frame.pixels.shape[:2]
    margin = 2 * WORKING_PIXEL_UM / frame.pixel_size_um
    right, bottom = box.x_px + box.width_px, box.y_px + box.height_px
    near = min(box.x_px, box.y_px, width - right, height - bottom)
    return bool(near <= margin)


def _reading_order(cell: Cell) -> tuple[int, int]:
    return cell.box.y_px, cell.box.x_px


def _without_small(labels: Labels, smallest_um2: float) -> Labels:
    areas_um2 = np.bincount(labels.ravel()) * WORKING_PIXEL_UM**2
    kept = areas_um2 >= smallest_um2
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    renumbered: Labels = numbers[labels]
    return renumbered


def _opened(mask: NDArray[np.uint8], radius_um: float) -> NDArray[np.uint8]:
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(radius_um))
    return np.asarray(opened, np.uint8)


def _closed(mask: NDArray[np.uint8], radius_um: float) -> NDArray[np.uint8]:
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(radius_um))
    return np.asarray(closed, np.uint8)


def _disc(radius_um: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_um / WORKING_PIXEL_UM)) + 1
    disc: NDArray[np.uint8] = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (side, side)
    ).astype(np.uint8)
    return disc
