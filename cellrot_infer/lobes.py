"""Which pieces of nucleus belong to one cell.

A segmented nucleus falls into lobes, and touching cells bring whole nuclei as near to
each other as lobes are. Size tells most of them apart: a lobe is small, a whole nucleus
is not, and a cell is only so wide. What lies between two pieces tells the rest: the
cytoplasm of one round cell, or the notch between two cells.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.regions import (
    WORKING_PIXEL_UM,
    Components,
    closed,
    components,
    opened,
    padded,
    solidity,
)
from cellrot_infer.types import Mask

POINTS = 48  # of an outline, enough to measure a gap
SMOOTHING_UM = 1.0
LARGEST_ROUND_UM2 = 380.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Two pieces are of one cell if no bound is passed.

    Bounds are on the gap between them, the smaller one, both together, the circle
    around both, the share of their convex hull that is cytoplasm or nucleus, and how
    solid the body is that both lie in.
    """

    gap_um: float
    smaller_um2: float = np.inf
    together_um2: float = 130.0
    across_um: float = 14.5
    filling: float = 0.0
    solid: float = 0.0


RULES = (
    Rule(gap_um=0.9, across_um=18.0),
    Rule(gap_um=2.0, smaller_um2=32.0, together_um2=100.0),
    Rule(gap_um=5.0, smaller_um2=32.0, filling=0.85),
    Rule(gap_um=3.0, smaller_um2=50.0, filling=0.97),
    Rule(gap_um=2.5, together_um2=115.0, across_um=18.5, solid=0.9),
    Rule(gap_um=6.0, across_um=18.0, solid=0.93),
)
WIDEST_GAP_UM = max(rule.gap_um for rule in RULES)

Points = NDArray[np.float32]  # (N, 2): x, y


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """Pieces of nucleus, by number, that belong together."""

    pieces: tuple[int, ...]
    outline: Points
    corners: tuple[float, float, float, float]  # left, top, right, bottom
    area_um2: float
    body: int

    def joined(self, other: "Nucleus") -> "Nucleus":
        """Return both as one nucleus."""
        (left, top, right, bottom), (x, y, x_end, y_end) = self.corners, other.corners
        return Nucleus(
            self.pieces + other.pieces,
            np.concatenate([self.outline, other.outline]),
            (min(left, x), min(top, y), max(right, x_end), max(bottom, y_end)),
            self.area_um2 + other.area_um2,
            self.body,
        )


def join_lobes(pieces: Components, bodies: Mask) -> list[Nucleus]:
    """Return the nuclei that `pieces` make, given where the `bodies` of cells are.

    Pairs join in the order of the gap between them; what is joined may join again.
    """
    cells = components(bodies)
    nuclei = [_single(number, pieces, cells) for number in range(1, len(pieces))]
    alive = dict(enumerate(nuclei))
    pairs = [
        pair for key in alive for pair in _pairs_of(key, alive, cells) if key > pair[1]
    ]
    heapq.heapify(pairs)
    for key in itertools.count(len(nuclei)):
        while pairs and not (pairs[0][1] in alive and pairs[0][2] in alive):
            heapq.heappop(pairs)
        if not pairs:
            break
        _, one, other = heapq.heappop(pairs)
        alive[key] = alive.pop(one).joined(alive.pop(other))
        for pair in _pairs_of(key, alive, cells):
            heapq.heappush(pairs, pair)
    return list(alive.values())


def _pairs_of(
    key: int, alive: dict[int, Nucleus], cells: Components
) -> Iterator[tuple[float, int, int]]:
    """Yield gap, other and `key` for each other nucleus of the same cell."""
    one = alive[key]
    others = [other for other in alive if other != key]
    corners = np.array([alive[other].corners for other in others]).reshape(-1, 4)
    for at in np.flatnonzero(_within_reach(one, corners)):
        other = others[at]
        nucleus = alive[other]
        gap_um = _gap_um(one.outline, nucleus.outline)
        if any(_allows(rule, one, nucleus, gap_um, cells) for rule in RULES):
            yield gap_um, other, key


def _allows(
    rule: Rule, one: Nucleus, other: Nucleus, gap_um: float, cells: Components
) -> bool:
    smaller, larger = sorted((one.area_um2, other.area_um2))
    if gap_um > rule.gap_um or smaller > rule.smaller_um2:
        return False
    if smaller + larger > rule.together_um2:
        return False
    both = np.concatenate([one.outline, other.outline])
    if 2 * cv2.minEnclosingCircle(both)[1] * WORKING_PIXEL_UM > rule.across_um:
        return False
    same_body = one.body == other.body
    if rule.filling and not (same_body and _filling(both, cells) > rule.filling):
        return False
    return not rule.solid or (same_body and _solidity(one.body, cells) > rule.solid)


def _single(number: int, pieces: Components, cells: Components) -> Nucleus:
    window = pieces.window(number)
    mask = (pieces.labels[window] == number).view(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)[:, 0]
    x, y = (int(value) for value in outline[0] + pieces.boxes[number, :2])
    left, top, width, height = (float(value) for value in pieces.boxes[number])
    step = 1 + len(outline) // POINTS
    return Nucleus(
        (number,),
        (outline[::step] + pieces.boxes[number, :2]).astype(np.float32),
        (left, top, left + width - 1, top + height - 1),
        float(pieces.areas_um2[number]),
        int(cells.labels[y, x]),
    )


def _within_reach(one: Nucleus, corners: NDArray[np.float64]) -> Mask:
    """Return which of the boxes with these corners (N, 4) are near to a nucleus."""
    left, top, right, bottom = one.corners
    x, y, x_end, y_end = corners.T
    across = np.maximum(left - x_end, x - right)
    down = np.maximum(top - y_end, y - bottom)
    near: Mask = np.maximum(across, down) <= WIDEST_GAP_UM / WORKING_PIXEL_UM
    return near


def _gap_um(one: Points, other: Points) -> float:
    (x, y), (other_x, other_y) = one.T[..., None], other.T
    squared = np.square(x - other_x) + np.square(y - other_y)
    return float(np.sqrt(squared.min())) * WORKING_PIXEL_UM


def _filling(outline: Points, cells: Components) -> float:
    """Return the share of the convex hull of `outline` that is part of a cell."""
    hull = cv2.convexHull(outline).astype(np.int32)
    x, y, width, height = cv2.boundingRect(hull)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [hull], -1, 1, -1, offset=(-x, -y))
    covered = cells.labels[y : y + height, x : x + width] > 0
    return float(np.count_nonzero(covered & (inside > 0)) / np.count_nonzero(inside))


def _solidity(body: int, cells: Components) -> float:
    """Return the solidity of a body, 0 where it is larger than any cell."""
    if body == 0 or cells.areas_um2[body] > LARGEST_ROUND_UM2:
        return 0.0
    part = padded(cells.labels[cells.window(body)] == body, 10)
    return solidity(opened(closed(part, SMOOTHING_UM), SMOOTHING_UM))
