"""Nuclei: found by their dye, and their edge drawn again within each cell."""

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.regions import (
    WORKING_PIXEL_UM,
    Components,
    closed,
    components,
    filled,
    opened,
)
from cellrot_infer.types import Floats, Mask

FAINTEST = 0.13  # nuclear stain, in decades; less is no nucleus in any stain
STRONGEST_FAINT = 0.2  # however pale the frame, its nuclei may be as strong
FEWEST_STAINED_PX = 50
SPECK_UM = 0.4  # what is thinner than twice this is no nucleus
HOLE_UM2 = 3.0  # a vacuole or pale chromatin
SMALLEST_LOBE_UM2 = 2.5

# How dye saturates: more than this the camera hardly sees, so it is cut off before
# nucleus and cytoplasm are told apart. Red, green; blue counts against.
DARKEST_RED, DARKEST_GREEN, BLUE_AGAINST = 0.6, 0.8, 0.5
SMOOTHING_UM = 0.15
LEAST_CYTOPLASM = 0.1  # of the nucleus; less tells nothing about its colour
LEAST_CONTRAST = 0.05  # decades
LEAST_KEPT = 0.5  # of the first estimate of the nucleus


def nuclear_threshold(score: Floats) -> float:
    """Return from what nuclear stain on a frame shows nuclei, inf where none are."""
    stained = score[score > FAINTEST / 2]
    if len(stained) < FEWEST_STAINED_PX:
        return np.inf
    strongest = max(float(np.percentile(stained, 99)), STRONGEST_FAINT)
    threshold = stain.two_class_threshold(stained, FAINTEST / 2, strongest)
    return max(threshold, FAINTEST)


def find_lobes(score: Floats, threshold: float) -> Components:
    """Return the nuclei and pieces of nuclei where the nuclear stain is `score`."""
    mask: Mask = score > threshold
    mask = closed(opened(mask, SPECK_UM), SPECK_UM)
    lobes = components(filled(mask, HOLE_UM2))
    large = lobes.areas_um2 > SMALLEST_LOBE_UM2
    large[0] = False
    return components(large[lobes.labels])


def sharpened(density: Floats, cell: Mask, nucleus: Mask) -> Mask:
    """Return the nucleus of a `cell` with its edge half way to the cytoplasm.

    The first estimate, `nucleus`, has one threshold for the whole frame; here the
    medians of the two classes within the cell decide.
    """
    if np.count_nonzero(cell & ~nucleus) < LEAST_CYTOPLASM * np.count_nonzero(nucleus):
        return nucleus
    red, green, blue = cv2.split(
        stain.blurred(density, SMOOTHING_UM / WORKING_PIXEL_UM)
    )
    dye = np.minimum(red, DARKEST_RED) + np.minimum(green, DARKEST_GREEN)
    dye = np.asarray(dye - BLUE_AGAINST * blue, np.float32)
    threshold = _between_medians(dye[cell])
    if threshold is None:
        return nucleus
    lobes = components(opened((dye > threshold) & cell, SPECK_UM))
    kept = np.zeros(len(lobes), bool)
    kept[lobes.labels[nucleus]] = True
    kept &= lobes.areas_um2 > SMALLEST_LOBE_UM2
    kept[0] = False
    sharp = filled(kept[lobes.labels], HOLE_UM2)
    enough = np.count_nonzero(sharp) > LEAST_KEPT * np.count_nonzero(nucleus)
    return sharp if enough else nucleus


def _between_medians(values: Floats) -> float | None:
    """Return the threshold half way between the medians of what it separates."""
    levels = np.sort(values)
    low, high = (
        float(levels[len(levels) // 100]),
        float(levels[-1 - len(levels) // 100]),
    )
    if high - low < LEAST_CONTRAST:
        return None
    threshold = stain.two_class_threshold(values, low, high)
    for _ in range(6):
        below = int(np.searchsorted(levels, threshold, side="right"))
        if below in (0, len(levels)):
            return None
        middles = levels[below // 2], levels[(below + len(levels)) // 2]
        threshold = float(sum(middles)) / 2
    return threshold
