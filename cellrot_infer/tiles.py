"""How a large image is cut into tiles so that its cells come out as of one piece.

A grid of blocks lies over the image: so many pixels that they are 128 at the scale at
which cells are sought, so that every part is resampled alike, whatever it was cut with.
A tile is a square of blocks, its core, with a halo: wide enough that what decides on a
cell in the core lies within the tile. Each cell belongs to the core that the middle of
its nucleus lies in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from cellrot_infer.errors import FrameError
from cellrot_infer.regions import WORKING_PIXEL_UM
from cellrot_infer.types import RGB, Box, Cell, Polygon

BLOCK = 128  # working pixels, 25.6 um
CORE_BLOCKS = 6
HALO_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image: its `core`, and the `box` with the halo, in pixels."""

    core: Box
    box: Box

    def owns(self, cell: Cell) -> bool:
        """Return whether `cell`, in pixels of the box, belongs to the core."""
        x, y = middle_px(cell)
        return inside(self.core, x + self.box.x_px, y + self.box.y_px)


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks of `block_px` pixels over an image."""

    width_px: int
    height_px: int
    block_px: int

    @classmethod
    def over(cls, size_px: tuple[int, int], pixel_size_um: float) -> Self:
        """Return the grid over an image of `size_px`, width and height."""
        return cls(*size_px, max(1, round(BLOCK * WORKING_PIXEL_UM / pixel_size_um)))

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks lie across and down; the last ones may be cut."""
        return -(-self.width_px // self.block_px), -(-self.height_px // self.block_px)

    @property
    def working_size(self) -> tuple[int, int]:
        """Width and height of the image at the scale at which cells are sought."""
        return self._working(self.width_px), self._working(self.height_px)

    def tiles(self, core_blocks: int = CORE_BLOCKS) -> Iterator[Tile]:
        """Yield the tiles of the image, row after row."""
        across, down = self.blocks
        for row in range(0, down, core_blocks):
            for column in range(0, across, core_blocks):
                core = self.box(column, row, core_blocks)
                start = max(column - HALO_BLOCKS, 0), max(row - HALO_BLOCKS, 0)
                end = (
                    column + core_blocks + HALO_BLOCKS,
                    row + core_blocks + HALO_BLOCKS,
                )
                yield Tile(core, self._between(start, end))

    def box(self, column: int, row: int, blocks: int) -> Box:
        """Return a square of `blocks`, which begins at one, inside of the image."""
        return self._between((column, row), (column + blocks, row + blocks))

    def around(self, tile: Tile, working_px: int) -> Box:
        """Return the core of `tile` and so much of what is around it."""
        core, margin = tile.core, working_px * self.block_px // BLOCK
        left, top = max(core.x_px - margin, 0), max(core.y_px - margin, 0)
        right = min(core.x_px + core.width_px + margin, self.width_px)
        bottom = min(core.y_px + core.height_px + margin, self.height_px)
        return Box(left, top, right - left, bottom - top)

    def window(self, box: Box) -> tuple[slice, slice]:
        """Return the rows and columns that `box` is at the working scale."""
        x = box.x_px // self.block_px * BLOCK
        y = box.y_px // self.block_px * BLOCK
        rows = slice(y, y + self._working(box.height_px))
        return rows, slice(x, x + self._working(box.width_px))

    def resample(self, pixels: RGB) -> RGB:
        """Return what begins at a block at the working scale.

        A pixel that the image cuts is left out.
        """
        height, width = pixels.shape[:2]
        down, across = -(-height // self.block_px), -(-width // self.block_px)
        bottom, right = down * self.block_px - height, across * self.block_px - width
        full = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if self.block_px > BLOCK else cv2.INTER_LINEAR
        small = cv2.resize(full, (across * BLOCK, down * BLOCK), interpolation=how)
        inside = small[: self._working(height), : self._working(width)]
        return np.asarray(inside, np.uint8)

    def size_px(self, box: Box) -> tuple[int, int]:
        """Return height and width of `box`, made up to whole blocks."""
        down = -(-box.height_px // self.block_px) * self.block_px
        return down, -(-box.width_px // self.block_px) * self.block_px

    def _working(self, length_px: int) -> int:
        return max(length_px * BLOCK // self.block_px, 1)

    def _between(self, start: tuple[int, int], end: tuple[int, int]) -> Box:
        x, y = start[0] * self.block_px, start[1] * self.block_px
        right = min(end[0] * self.block_px, self.width_px)
        bottom = min(end[1] * self.block_px, self.height_px)
        return Box(x, y, right - x, bottom - y)


def middle_px(cell: Cell) -> tuple[float, float]:
    """Return the middle of the box around the nucleus of `cell`, (x, y)."""
    corners = np.array([corner for lobe in cell.nucleus for corner in lobe])
    x, y = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return float(x), float(y)


def inside(box: Box, x_px: float, y_px: float) -> bool:
    """Return whether a point is in `box`, without its right and lower edges."""
    return 0 <= x_px - box.x_px < box.width_px and 0 <= y_px - box.y_px < box.height_px


def check_region(region: Box, size_px: tuple[int, int], name: str) -> None:
    """Raise FrameError unless a part of `region` is in an image of `size_px`."""
    if not overlap(region, Box(0, 0, *size_px)):
        raise FrameError(
            f"{name}: --region lies outside of its {size_px[0]} x {size_px[1]} pixels"
        )


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share a pixel."""
    across = min(one.x_px + one.width_px, other.x_px + other.width_px)
    down = min(one.y_px + one.height_px, other.y_px + other.height_px)
    return across > max(one.x_px, other.x_px) and down > max(one.y_px, other.y_px)


def moved(cell: Cell, x_px: float, y_px: float, factor: float = 1.0) -> Cell:
    """Return `cell` enlarged by `factor`, then moved by so many pixels."""

    def there(polygon: Polygon) -> Polygon:
        points = np.rint(np.array(polygon) * factor + (x_px, y_px)).astype(int)
        return tuple(map(tuple, points.tolist()))

    box = cell.box
    left, top = box.x_px * factor + x_px, box.y_px * factor + y_px
    size = round(box.width_px * factor), round(box.height_px * factor)
    return replace(
        cell,
        box=Box(round(left), round(top), *size),
        outline=there(cell.outline),
        nucleus=tuple(map(there, cell.nucleus)),
    )
