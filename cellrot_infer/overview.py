"""A small copy of a large image, for pictures in reports."""

from dataclasses import replace

import cv2
import numpy as np

from cellrot_infer.largeimage import LargeImage
from cellrot_infer.types import RGB, Box, Frame

SIDE_PX = 4096
WHITE = 255


def view_factor(image: LargeImage) -> float:
    """Return how many times smaller than its level the copy of `image` is."""
    return max(1.0, max(image.size_px) / SIDE_PX)


class Overview:
    """A copy of at most 4096 pixels a side, made of what is seen of an image.

    It is white where the image was not looked at, and `factor` times smaller.
    """

    def __init__(self, image: LargeImage) -> None:
        self._image = image
        width, height = image.size_px
        self.factor = view_factor(image)
        shape = self._at(height), self._at(width), 3
        self._pixels = np.full(shape, WHITE, np.uint8)

    def paste(self, core: Box, view: RGB) -> None:
        """Put the `view` of a core into its place."""
        rows = slice(self._at(core.y_px), self._at(core.y_px + core.height_px))
        columns = slice(self._at(core.x_px), self._at(core.x_px + core.width_px))
        place = self._pixels[rows, columns]
        if place.size:
            size = place.shape[1], place.shape[0]
            place[:] = cv2.resize(view, size, interpolation=cv2.INTER_AREA)

    def frame(self) -> Frame:
        """Return the copy as a frame at its own scale."""
        image = self._image
        um = image.level_pixel_um * self.factor
        size = replace(image.pixel_size, um=um)
        return Frame(image.name, self._pixels, size, image.sha256, image.warnings)

    def _at(self, length_px: int) -> int:
        return max(round(length_px / self.factor), 1 if length_px else 0)
