"""Whether a field can be trusted: light, focus, stain, and how crowded it is."""

from dataclasses import dataclass

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.types import Cell, Frame

MEASURING_PIXEL_UM = 0.2


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """Measures of one field, and in plain words why it should not be trusted.

    `focus` is the steepest optical density, decades a micrometre; `illumination` the
    brightness of the glass, 0 to 1; `stain` the density of the nuclei, decades;
    `density` the share of the field under nucleated cells.
    """

    focus: float
    illumination: float
    stain: float
    density: float
    warnings: tuple[str, ...] = ()


def field_quality(frame: Frame, cells: list[Cell]) -> FieldQuality:
    """Return how far `frame`, in which `cells` were found, can be trusted."""
    small = stain.shrink(frame.pixels, frame.pixel_size_um / MEASURING_PIXEL_UM)
    glass = stain.find_glass(small)
    density = stain.optical_density(small, glass)
    red = density[..., 0]
    slope = np.hypot(cv2.Sobel(red, cv2.CV_32F, 1, 0), cv2.Sobel(red, cv2.CV_32F, 0, 1))
    field_um2 = red.size * MEASURING_PIXEL_UM**2
    return FieldQuality(
        focus=float(np.percentile(slope, 99.5)) / (8 * MEASURING_PIXEL_UM),
        illumination=float(glass.light.mean()) / 255,
        stain=float(np.percentile(stain.nuclear_stain(density), 99.5)),
        density=sum(cell.area_um2 for cell in cells) / field_um2,
    )
