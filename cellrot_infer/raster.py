"""Images that are read in parts, since they may be larger than the memory.

A raster has levels: the image itself is level 0, smaller copies of it follow. What was
not scanned, and what is missing in a mosaic, is black: no microscope shows a field of
bright light as black.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from cellrot_infer.types import RGB, Box

MISSING_EXTRA = "to read it in parts, pip install 'cellrot[slides]'"


class Raster(Protocol):
    """An image file that gives any part of any of its levels.

    The largest level is the first; `pixel_size_um` is that of level 0, None where the
    file does not say.
    """

    pixel_size_um: float | None

    @property
    def sizes_px(self) -> Sequence[tuple[int, int]]:
        """Width and height of each level."""

    def read(self, box: Box, level: int = 0) -> RGB:
        """Return the pixels in `box`, which counts in pixels of `level`.

        Threads may read at the same time. Raises FrameError where the file is damaged.
        """

    def close(self) -> None:
        """Let go of the file."""


class MemoryRaster:
    """An image that is in memory already."""

    def __init__(self, pixels: RGB) -> None:
        self._pixels = pixels
        self.sizes_px = ((pixels.shape[1], pixels.shape[0]),)
        self.pixel_size_um: float | None = None

    def read(self, box: Box, level: int = 0) -> RGB:
        """Return a view of the pixels in `box`; there is level 0 only."""
        if level:
            raise ValueError(f"an image in memory has no level {level}")
        rows = slice(box.y_px, box.y_px + box.height_px)
        return self._pixels[rows, box.x_px : box.x_px + box.width_px]

    def close(self) -> None:
        """Do nothing: the pixels belong to someone else."""


def downsample(raster: Raster, level: int) -> float:
    """Return how many pixels of level 0 one of `level` is wide."""
    return raster.sizes_px[0][0] / raster.sizes_px[level][0]


def glance(raster: Raster, box: Box, level: int, factor: float) -> RGB:
    """Return what is in `box` of `level`, `factor` times smaller, at least one pixel.

    Reads the smallest level that is large enough, and takes means.
    """
    wanted = downsample(raster, level) * max(factor, 1.0)
    finest = max(
        (n for n in range(len(raster.sizes_px)) if downsample(raster, n) <= wanted),
        key=lambda n: downsample(raster, n),
    )
    step = downsample(raster, finest) / downsample(raster, level)
    pixels = raster.read(_at_level(box, step, raster.sizes_px[finest]), finest)
    size = max(round(box.width_px / factor), 1), max(round(box.height_px / factor), 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _at_level(box: Box, step: float, size_px: tuple[int, int]) -> Box:
    """Return `box` in pixels `step` times larger, inside of an image of `size_px`."""
    x, y = (
        min(int(start / step), side - 1)
        for start, side in zip((box.x_px, box.y_px), size_px, strict=True)
    )
    width = min(max(round(box.width_px / step), 1), size_px[0] - x)
    height = min(max(round(box.height_px / step), 1), size_px[1] - y)
    return Box(x, y, width, height)
