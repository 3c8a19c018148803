"""How much dye a pixel holds: optical density against the frame's own empty glass.

Light that crosses dye falls off exponentially with the amount of it (Beer, Lambert), so
the logarithm of glass over pixel is proportional to the amount, adds where cells
overlap and does not know the colour or the strength of the lamp. Everything else is
judged in optical density: decades of light lost in red, green and blue.

Nuclei are the only things in a Romanowsky stain that hold much dye absorbing red light.
Red cells, whatever their shade, lie along one direction of colour through the empty
glass; what is off this axis belongs to a nucleated cell or a platelet.
"""

import cv2
import numpy as np

from cellrot_infer.types import RGB, Floats, Mask

MEASURING_SIDE_PX = 160  # the colour of the glass needs no more detail
PEAK_SHARE = 0.25  # a peak of brightness this high, against the highest, is glass
GREY_LEVELS_OF_NOISE = 8

PLAIN_RED_CELL = np.array([0.2, 0.8, 0.55], np.float32)  # the axis without red cells


def white_point(pixels: RGB) -> Floats:
    """Return the colour of empty glass, (3,): the brightest common colour."""
    small = shrink(pixels, MEASURING_SIDE_PX / max(pixels.shape[:2]))
    green = small[..., 1].ravel()  # every dye of the stain takes green light
    counts = np.bincount(green, minlength=256).astype(np.float32)
    smooth = cv2.blur(counts[None], (9, 1), borderType=cv2.BORDER_CONSTANT)[0]
    level = int(np.flatnonzero(_peaks(smooth))[-1])
    glass = np.abs(green.astype(np.int16) - level) <= GREY_LEVELS_OF_NOISE
    colour: Floats = np.median(small.reshape(-1, 3)[glass], axis=0).astype(np.float32)
    return colour


def optical_density(pixels: RGB, white: Floats) -> Floats:
    """Return the decades of light lost against `white`, (H, W, 3), at least -0.1."""
    lost = np.log10((white + 1) / (pixels.astype(np.float32) + 1))
    return np.asarray(np.maximum(lost, -0.1), np.float32)


def nuclear_stain(density: Floats) -> Floats:
    """Return a score (H, W) that is high in nuclei only.

    Red light is lost in nuclei and little elsewhere. Green is lost in nuclei more than
    blue, while haemoglobin takes both.
    """
    red, green, blue = cv2.split(density)
    score: Floats = red + 0.5 * np.maximum(green - blue, 0)
    return score


def red_cell_axis(density: Floats, red_cells: Mask) -> Floats:
    """Return the direction of colour, (3,) of length one, of the `red_cells` given."""
    enough = np.count_nonzero(red_cells) > 200
    colour = np.median(density[red_cells], axis=0) if enough else PLAIN_RED_CELL
    axis: Floats = (colour / np.linalg.norm(colour)).astype(np.float32)
    return axis


def off_axis(density: Floats, axis: Floats) -> Floats:
    """Return the part of the density (H, W) that is not of the colour of `axis`."""
    along = density @ axis
    distance: Floats = np.linalg.norm(density - along[..., None] * axis, axis=2)
    return distance


def two_class_threshold(values: Floats, low: float, high: float) -> float:
    """Return what splits `values`, clipped to [low, high], best in two (Otsu 1979)."""
    levels = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    return low + (high - low) * float(level) / 255


def shrink(pixels: RGB, factor: float) -> RGB:
    """Return the image resized by `factor`; averages where it gets smaller."""
    height, width = pixels.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized: RGB = cv2.resize(pixels, size, interpolation=how).astype(np.uint8)
    return resized


def _peaks(counts: Floats) -> Mask:
    """Return where a histogram has a peak of note, (256,)."""
    around = cv2.dilate(counts[None], np.ones((1, 17), np.uint8))[0]
    peaks: Mask = (counts >= around) & (counts >= PEAK_SHARE * counts.max())
    return peaks
