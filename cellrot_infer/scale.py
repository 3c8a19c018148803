"""The pixel size of a frame, judged by its red cells: 7.2 micrometres across.

Red cells overlap, so none is measured as a whole: the outline of what is dyed falls, at
its notches, into arcs, and each arc that is long and round tells the diameter of its
cell, whatever lies behind. White cells and platelets have arcs too; the diameter on
which most of the dyed area agrees is that of the red cells. Where few arcs are seen,
a size that cameras usually have is believed sooner than another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer import stain
from cellrot_infer.types import RGB, Mask, PixelSize

RED_CELL_UM = 7.2
VISIBLE = 1.07  # the edge that people see, against that where half of the dye is
MEASURING_SIDE_PX = 512
COARSE_PX = 10.0  # a diameter, at the measuring size; less tells nothing
SMALLEST_RADIUS_PX = 3.0
NUCLEAR = 0.2  # decades of nuclear stain
MOST_NUCLEAR = 0.1  # share of the middle of a red cell
EDGE_LEVEL = 0.6  # of the threshold between glass and dye
FAINTEST_EDGE = 0.06  # decades
STEP = 0.12  # between points of an outline, in radii
NOTCH_RAD = 0.15  # turn outwards within a quarter of a radius
SHORTEST_ARC_RAD = 2.0
LONG_ARC_RAD = 3.2  # enough to fit an ellipse
LONGEST_ELLIPSE = 1.3  # one axis against the other; more are two cells
ROUGHEST = 0.1  # standard deviation of the radius
DIAMETERS_PX = np.geomspace(4, 800, 400)
AGREEMENT = 0.25  # relative width within which diameters support each other
USUAL_UM, USUAL_FACTOR = 0.1, 2.0  # a pixel, and within what factor most cameras are
NEAR = 0.3
FEWEST_CIRCLES = 0.1
SCATTER = 0.12  # of the diameters of red cells in one frame, at least

Points = NDArray[np.float64]  # (N, 2): x, y


@dataclass(frozen=True, slots=True)
class Arc:
    """Part of the outline of a round cell; `turn_rad` is how far it goes around."""

    x: float
    y: float
    radius_px: float
    turn_rad: float
    roughness: float

    @property
    def weight(self) -> float:
        """How far to trust it, 0 to 1: how much of the circle is seen, how round."""
        share = min(self.turn_rad / (2 * np.pi), 1.0)
        return share**2 * max(0.0, 1 - (self.roughness / ROUGHEST) ** 2)


def estimate_pixel_size(pixels: RGB) -> PixelSize | None:
    """Return the pixel size that makes the red cells 7.2 um, None if they do not tell.

    `spread` is the relative standard error of the diameter, from how well and how many
    red cells agree. Where they are too small to measure in the whole frame, its middle
    is looked at more closely.
    """
    factor = min(1.0, MEASURING_SIDE_PX / max(pixels.shape[:2]))
    one_um = RED_CELL_UM / VISIBLE * factor  # per pixel, at a diameter of one pixel
    found = _agreed_diameter(red_cell_arcs(stain.shrink(pixels, factor)), one_um)
    if found is None or found[0] < COARSE_PX:
        return estimate_pixel_size(_middle(pixels)) if factor <= 0.5 else None
    diameter_px, spread = found
    return PixelSize(one_um / diameter_px, "red cells", spread)


def red_cell_arcs(pixels: RGB) -> list[Arc]:
    """Return the round arcs in the outlines of what is dyed and has no nucleus."""
    density = stain.optical_density(pixels, stain.find_glass(pixels))
    density = stain.blurred(density, 1.0)
    total = np.clip(stain.total_dye(density), 0, 0.5)
    level = EDGE_LEVEL * stain.two_class_threshold(total, 0, 0.5)
    dyed = total > max(level, FAINTEST_EDGE)
    nuclear = stain.nuclear_stain(density) > NUCLEAR
    arcs = (arc for points in _pieces(dyed) if (arc := _arc(points)))
    return [arc for arc in arcs if not _has_nucleus(arc, nuclear)]


def _pieces(dyed: Mask) -> Iterator[Points]:
    """Yield the outlines of what is `dyed`, cut at their notches and at the border."""
    end = np.array(dyed.shape[::-1]) - 2.5
    contours, _ = cv2.findContours(
        dyed.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    for contour in contours:
        outline = np.asarray(contour[:, 0], np.int32)
        radius_px = _inner_radius_px(outline)
        if radius_px > SMALLEST_RADIUS_PX:
            points = _evenly(outline, STEP * radius_px)
            inside = ((points > 1.5) & (points < end)).all(axis=1)
            yield from _runs(points, inside & ~_notched(points))


def _inner_radius_px(contour: NDArray[np.int32]) -> float:
    """Return the radius of the largest disc within a contour."""
    x, y, width, height = cv2.boundingRect(contour)
    if min(width, height) < 2 * SMALLEST_RADIUS_PX:
        return 0.0
    shape = np.zeros((height + 2, width + 2), np.uint8)
    cv2.drawContours(shape, [contour], -1, 1, -1, offset=(1 - x, 1 - y))
    return float(cv2.distanceTransform(shape, cv2.DIST_L2, 3).max())


def _evenly(contour: NDArray[np.int32], step_px: float) -> Points:
    """Return points along a closed contour, `step_px` apart."""
    closed = np.vstack([contour, contour[:1]]).astype(float)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(round(along[-1] / step_px), 24)
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.column_stack([np.interp(at, along, side) for side in closed.T])


def _notched(points: Points) -> NDArray[np.bool_]:
    """Return where a closed outline turns outwards."""
    reach = 2  # points, a quarter of a radius
    kernel = cv2.getGaussianKernel(4 * reach + 1, 0.6 * reach)[:, 0]
    line = points[:, 0] + 1j * points[:, 1]
    wound = np.concatenate([line[-2 * reach :], line, line[: 2 * reach]])
    smooth = np.convolve(wound, kernel, "valid")
    before, after = smooth - np.roll(smooth, reach), np.roll(smooth, -reach) - smooth
    turn = np.angle(after * np.conj(before))
    notched: NDArray[np.bool_] = turn * np.sign(turn.sum()) < -NOTCH_RAD
    return notched | np.roll(notched, 1) | np.roll(notched, -1)


def _runs(points: Points, kept: NDArray[np.bool_]) -> Iterator[Points]:
    """Yield the runs of `kept` points of a closed outline."""
    if kept.all():
        yield points
        return
    first = int(np.flatnonzero(~kept)[0])
    points, kept = np.roll(points, -first, axis=0), np.roll(kept, -first)
    changes = np.flatnonzero(np.diff(np.concatenate([kept, [False]]))) + 1
    for start, stop in changes.reshape(-1, 2):
        yield points[start:stop]


def _arc(points: Points) -> Arc | None:
    """Return the circle or ellipse through `points`, None if they are too few."""
    if len(points) < 6:
        return None
    x, y, radius_px = _circle(points)
    length_px = np.hypot(*np.diff(points, axis=0).T).sum()
    turn_rad = float(length_px / radius_px)
    if radius_px < SMALLEST_RADIUS_PX or turn_rad < SHORTEST_ARC_RAD:
        return None
    away = np.hypot(points[:, 0] - x, points[:, 1] - y) / radius_px
    round_arc = Arc(x, y, radius_px, turn_rad, float(away.std()))
    oval = _ellipse(points) if turn_rad > LONG_ARC_RAD else None
    return min(filter(None, (round_arc, oval)), key=lambda arc: arc.roughness)


def _circle(points: Points) -> tuple[float, float, float]:
    """Return centre and radius of the circle nearest to `points` (Kasa 1976)."""
    middle = points.mean(axis=0)
    away = points - middle
    terms = np.column_stack([2 * away, np.ones(len(away))])
    a, b, c = np.linalg.lstsq(terms, np.square(away).sum(axis=1), rcond=None)[0]
    x, y = middle + np.array([a, b])
    return float(x), float(y), float(np.sqrt(max(c + a * a + b * b, 1e-9)))


def _ellipse(points: Points) -> Arc | None:
    """Return the ellipse through `points`, with the mean of its radii."""
    (x, y), axes, degrees = cv2.fitEllipse(points.astype(np.float32))
    if not 0 < max(axes) < LONGEST_ELLIPSE * min(axes):
        return None
    turned = (points - (x, y)) @ cv2.getRotationMatrix2D((0, 0), degrees, 1)[:, :2].T
    away = np.hypot(*(turned / np.array(axes) * 2).T)
    radius_px = sum(axes) / 4
    length_px = np.hypot(*np.diff(points, axis=0).T).sum()
    return Arc(x, y, radius_px, float(length_px / radius_px), float(away.std()))


def _has_nucleus(arc: Arc, nuclear: Mask) -> bool:
    reach = 0.7 * arc.radius_px
    rows = slice(max(int(arc.y - reach), 0), max(int(arc.y + reach) + 1, 0))
    columns = slice(max(int(arc.x - reach), 0), max(int(arc.x + reach) + 1, 0))
    inside = nuclear[rows, columns]
    return inside.size == 0 or float(inside.mean()) > MOST_NUCLEAR


def _agreed_diameter(arcs: list[Arc], one_um: float) -> tuple[float, float] | None:
    """Return the diameter that most of the dyed area has, and its standard error.

    The pixel size at a diameter of one pixel is `one_um`.
    """
    diameters = np.array([2 * arc.radius_px for arc in arcs])
    weights = np.array([arc.weight for arc in arcs])
    if not weights.any():
        return None
    away = np.log(DIAMETERS_PX[:, None] / diameters) / AGREEMENT
    unusual = np.log(one_um / DIAMETERS_PX / USUAL_UM) / np.log(USUAL_FACTOR)
    support = np.exp(-0.5 * away**2) @ (weights * diameters**2)
    common = DIAMETERS_PX[int((support * np.exp(-0.5 * unusual**2)).argmax())]
    near = np.abs(np.log(diameters / common)) < NEAR
    logs, weights = np.log(diameters[near]), weights[near]
    circles = float(weights.sum())
    if circles < FEWEST_CIRCLES:
        return None
    middle = np.average(logs, weights=weights)
    scatter = np.sqrt(np.average((logs - middle) ** 2, weights=weights))
    return float(np.exp(middle)), float(max(scatter, SCATTER) / np.sqrt(circles))


def _middle(pixels: RGB) -> RGB:
    height, width = pixels.shape[:2]
    rows = slice(height // 4, height - height // 4)
    return pixels[rows, width // 4 : width - width // 4]
