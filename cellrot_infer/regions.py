"""Masks at the scale at which cells are sought, every length in micrometres.

Small discs are kernels; large ones come from distance transforms, whose cost does not
grow with the radius, and which give the same. What lies outside of the frame counts as
more of the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.types import Floats, Mask

WORKING_PIXEL_UM = 0.2  # fine enough for an outline, coarse enough to be fast
PIXEL_UM2 = WORKING_PIXEL_UM**2
KERNELS_TO_UM = 1.0

Labels = NDArray[np.int32]  # (H, W), 0 where nothing is
Window = tuple[slice, slice]
EVERYWHERE: Window = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Components:
    """The connected parts of a mask, numbered from 1; 0 is what is outside of it.

    `count` is that of the parts and of the outside together. What is not asked for is
    not measured: that takes longer than to tell the parts from each other.
    """

    labels: Labels
    count: int

    def __len__(self) -> int:
        return self.count

    @cached_property
    def areas_um2(self) -> NDArray[np.float64]:
        """The area of each part, (N,)."""
        pixels = np.bincount(self.labels[self.labels > 0], minlength=self.count)
        pixels[0] = self.labels.size - pixels.sum()  # most of a field is outside
        return np.asarray(pixels * PIXEL_UM2, np.float64)

    @cached_property
    def boxes(self) -> NDArray[np.int32]:
        """The x, y, width and height of each part, (N, 4); zeros for the outside."""
        boxes = np.zeros((self.count, 4), np.int32)
        inside = (self.labels > 0).view(np.uint8)
        contours, links = cv2.findContours(
            inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
        )
        for contour, link in zip(contours, links[0] if contours else (), strict=True):
            if link[3] < 0:  # else the outline of a hole
                x, y = contour[0, 0]
                boxes[self.labels[y, x]] = cv2.boundingRect(contour)
        return boxes

    def window(self, number: int, margin_um: float = 0.0) -> Window:
        """Return where component `number` is, with a margin inside of the frame."""
        x, y, width, height = (int(value) for value in self.boxes[number])
        margin = round(margin_um / WORKING_PIXEL_UM)
        rows = slice(max(y - margin, 0), y + height + margin)
        return rows, slice(max(x - margin, 0), x + width + margin)

    def mask(self, numbers: Sequence[int], window: Window = EVERYWHERE) -> Mask:
        """Return where the components of these `numbers` are in `window`."""
        chosen = np.zeros(len(self), bool)
        chosen[list(numbers)] = True
        inside: Mask = chosen[self.labels[window]]
        return inside

    def part(self, window: Window) -> "Components":
        """Return what lies in `window`, numbered as before."""
        return Components(self.labels[window], self.count)


def components(mask: Mask) -> Components:
    """Return the 8-connected parts of `mask`."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8))
    return Components(np.asarray(labels, np.int32), count)


def bounds(mask: Mask, margin_um: float = 0.0) -> Window:
    """Return the part of the field in which `mask` is, with a margin."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    margin = round(margin_um / WORKING_PIXEL_UM)
    rows = slice(max(y - margin, 0), y + height + margin)
    return rows, slice(max(x - margin, 0), x + width + margin)


def within(outer: Window, inner: Window) -> Window:
    """Return where a window of a window is in the field."""
    rows, columns = (
        slice(whole.start + part.start, min(whole.start + part.stop, whole.stop))
        for whole, part in zip(outer, inner, strict=True)
    )
    return rows, columns


def neighbourhoods(windows: Mapping[int, Window]) -> list[tuple[Window, list[int]]]:
    """Return windows that do not overlap, each around those whose numbers follow."""
    apart: list[tuple[Window, list[int]]] = []
    for number, window in windows.items():
        numbers = [number]
        while near := [one for one in apart if _overlap(one[0], window)]:
            for other, others in near:
                window = _around(window, other)
                numbers += others
            apart = [one for one in apart if one not in near]
        apart.append((window, numbers))
    return apart


def _overlap(one: Window, other: Window) -> bool:
    return all(
        a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True)
    )


def _around(one: Window, other: Window) -> Window:
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def depth_um(mask: Mask) -> Floats:
    """Return how deep inside of `mask` a pixel is, 0 outside."""
    return np.asarray(_depth_px(mask) * WORKING_PIXEL_UM, np.float32)


def eroded(mask: Mask, radius_um: float) -> Mask:
    """Return what is deeper in `mask` than `radius_um`."""
    if radius_um <= KERNELS_TO_UM:
        small = cv2.erode(mask.view(np.uint8), _disc(radius_um))
        return np.asarray(small, np.uint8) > 0
    deep: Mask = _depth_px(mask) > radius_um / WORKING_PIXEL_UM
    return deep


def dilated(mask: Mask, radius_um: float) -> Mask:
    """Return what is no further than `radius_um` from `mask`."""
    if radius_um <= KERNELS_TO_UM:
        large = cv2.dilate(mask.view(np.uint8), _disc(radius_um))
        return np.asarray(large, np.uint8) > 0
    if not mask.any():
        return mask.copy()
    near: Mask = _depth_px(~mask) <= radius_um / WORKING_PIXEL_UM
    return near


def opened(mask: Mask, radius_um: float) -> Mask:
    """Return what discs of `radius_um` reach inside of `mask`."""
    return dilated(eroded(mask, radius_um), radius_um) & mask


def closed(mask: Mask, radius_um: float) -> Mask:
    """Return `mask` with the gaps that discs of `radius_um` cannot enter.

    They come from outside, too: what is next to the border goes on behind it.
    """
    margin_px = int(radius_um / WORKING_PIXEL_UM) + 1
    sides = (margin_px,) * 4
    wide = cv2.copyMakeBorder(mask.view(np.uint8), *sides, cv2.BORDER_REPLICATE)
    gaps = opened(np.asarray(wide) == 0, radius_um)
    inside = slice(margin_px, -margin_px)
    return ~gaps[inside, inside]


def filled(mask: Mask, largest_um2: float = np.inf) -> Mask:
    """Return `mask` without its holes smaller than `largest_um2`."""
    whole = mask.astype(np.uint8)
    contours, tree = cv2.findContours(whole, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = tree[0, :, 3] if contours else ()
    for contour, parent in zip(contours, parents, strict=True):
        is_hole = parent >= 0
        if is_hole and cv2.contourArea(contour) * PIXEL_UM2 < largest_um2:
            cv2.drawContours(whole, [contour], -1, 1, -1)
    return whole.view(bool)


def nearest(labels: Labels) -> tuple[Labels, Floats]:
    """Return the label nearest to each pixel, and how far it is in micrometres."""
    distance, pixel = cv2.distanceTransformWithLabels(
        (labels == 0).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(int(pixel.max()) + 1, np.int32)
    label_of[pixel[labels > 0]] = labels[labels > 0]
    return label_of[pixel], np.asarray(distance * WORKING_PIXEL_UM, np.float32)


def padded(mask: Mask, margin_px: int) -> Mask:
    """Return `mask` with so many pixels of nothing around it."""
    sides = (margin_px,) * 4
    wide = cv2.copyMakeBorder(mask.view(np.uint8), *sides, cv2.BORDER_CONSTANT)
    return np.asarray(wide, np.uint8) > 0


def solidity(mask: Mask) -> float:
    """Return the area of the largest part of `mask` over that of its convex hull."""
    contours, _ = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if not contours:
        return 0.0
    largest = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(largest)
    return float(cv2.contourArea(largest) / max(cv2.contourArea(hull), 1.0))


def _depth_px(mask: Mask) -> Floats:
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(depth, np.float32)


@cache
def _disc(radius_um: float) -> NDArray[np.uint8]:
    """Return the kernel of all that `_depth_px` takes to be within `radius_um`."""
    radius_px = radius_um / WORKING_PIXEL_UM
    side = 2 * int(radius_px * 1.1) + 3  # it takes a step to be 0.955 pixels
    away = np.ones((side, side), bool)
    away[side // 2, side // 2] = False
    near = _depth_px(away) <= radius_px
    rows = near.any(axis=1)
    return near[rows][:, rows].astype(np.uint8)
