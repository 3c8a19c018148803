"""Parts of the files of slide scanners, read through OpenSlide."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellrot_infer.errors import FrameError
from cellrot_infer.raster import MISSING_EXTRA
from cellrot_infer.types import RGB, Box


class WholeSlide:
    """A slide file as a Raster.

    Raises FrameError where OpenSlide does not know the file, or is missing itself,
    which the extra `slides` brings.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide, self._error = _open(path)
        self.sizes_px = self._slide.level_dimensions
        self._downsamples = self._slide.level_downsamples
        self.pixel_size_um = _pixel_size_um(self._slide.properties)

    def read(self, box: Box, level: int = 0) -> RGB:
        """Return the pixels in `box` of `level`; what was not scanned is black."""
        step = self._downsamples[level]
        corner = round(box.x_px * step), round(box.y_px * step)
        size = box.width_px, box.height_px
        try:
            pixels = np.asarray(self._slide.read_region(corner, level, size))
        except self._error as error:
            place = f"x {box.x_px}, y {box.y_px} of level {level}"
            raise FrameError(
                f"{self._path}: damaged near {place} ({error!s:.80})"
            ) from None
        return np.asarray(pixels[..., :3] * (pixels[..., 3:] > 0), np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def _open(path: Path) -> tuple[Any, type[Exception]]:
    """Return the open slide and the class of its errors."""
    try:
        import openslide
    except ModuleNotFoundError:
        raise FrameError(f"{path}: {MISSING_EXTRA}") from None
    try:
        return openslide.OpenSlide(path), openslide.OpenSlideError
    except openslide.OpenSlideUnsupportedFormatError:
        raise FrameError(
            f"{path}: not a slide that OpenSlide knows; save it as tiled TIFF"
        ) from None
    except openslide.OpenSlideError as error:
        raise FrameError(f"{path}: a damaged slide ({error!s:.120})") from None


def _pixel_size_um(properties: Mapping[str, str]) -> float | None:
    """Return micrometres per pixel of level 0, None unless x and y agree."""
    try:
        x_um, y_um = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
    return x_um if x_um > 0 and abs(x_um - y_um) <= 0.01 * x_um else None
