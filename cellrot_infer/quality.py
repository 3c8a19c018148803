"""Whether a field can be trusted: light, focus, stain, and how much glass is left.

The bounds lie between the frames of three laboratories, which pass, and the same frames
blurred, over-exposed, bleached and emptied, which do not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.field import Field
from cellrot_infer.regions import PIXEL_UM2, WORKING_PIXEL_UM
from cellrot_infer.types import RGB, Cell, Floats

NOISE_UM = 0.14  # is not detail
FINE_UM, COARSE_UM = 0.3, 1.0  # detail smaller than this, against all of it
DYED = 0.08  # decades in all colours
SATURATED = 254  # grey level
LEAST_FOCUS = 0.165
DARKEST_GLASS = 0.3
MOST_SATURATED = 0.5  # share of the field
STEEPEST_LIGHT = 0.2  # decades from the brightest place to the darkest
PALEST_STAIN = 0.18  # decades in all colours
LEAST_DYED = 0.002  # share of the field
LEAST_GLASS = 0.03  # share of the field


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """Measures of one field, and in plain words why it should not be trusted.

    `focus` is the share of the fine in all detail, 0.25 and more where edges are sharp;
    `illumination` the brightness of the glass, 0 to 1, `saturated` the share of the
    field that is plain white, `fading` the decades between its brightest and darkest
    glass; `stain` the dye of what is well stained, decades in all colours; `glass`,
    `dyed` and `density` the shares of the field that are empty, stained, and under
    nucleated cells.
    """

    focus: float
    illumination: float
    saturated: float
    fading: float
    stain: float
    glass: float
    dyed: float
    density: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the field should not be trusted; empty where it can be."""
        if self.dyed < LEAST_DYED:
            return ("the field is empty, nothing in it is stained",)
        faults = {
            "out of focus": self.focus < LEAST_FOCUS,
            "too dark": self.illumination < DARKEST_GLASS,
            "over-exposed: pale parts of cells are white": self.saturated
            > MOST_SATURATED,
            "lit unevenly": self.fading > STEEPEST_LIGHT,
            "stained too weakly": self.stain < PALEST_STAIN,
            "crowded: no empty glass to compare the stain with": self.glass
            < LEAST_GLASS,
        }
        return tuple(
            f"the field is {fault}; do not trust its cells"
            for fault, found in faults.items()
            if found
        )


def field_quality(field: Field, cells: list[Cell]) -> FieldQuality:
    """Return how far `field`, in which `cells` were found, can be trusted."""
    glass, dye = field.glass, _dye(field.density)
    dyed = dye[dye > DYED]
    return FieldQuality(
        focus=_focus(dye),
        illumination=float(glass.light[1]) / 255,
        saturated=_saturated(field.pixels),
        fading=_fading(glass),
        stain=float(np.percentile(dyed, 90)) if dyed.size else 0.0,
        glass=glass.share,
        dyed=dyed.size / dye.size,
        density=sum(cell.area_um2 for cell in cells) / (dye.size * PIXEL_UM2),
    )


def find_focus(density: Floats) -> float:
    """Return the focus of a field of this density, as `FieldQuality` has it.

    The density is at the scale at which cells are sought, and not smoothed.
    """
    return _focus(_dye(density))


def _dye(density: Floats) -> Floats:
    return _soft(stain.total_dye(density), NOISE_UM)


def _focus(dye: Floats) -> float:
    """Return the strongest detail finer than 0.3 um over that finer than 1 um."""
    fine, coarse = (
        float(np.percentile(np.abs(dye - _soft(dye, sigma_um)), 99))
        for sigma_um in (FINE_UM, COARSE_UM)
    )
    return fine / max(coarse, 1e-6)


def _soft(dye: Floats, sigma_um: float) -> Floats:
    return stain.blurred(dye, sigma_um / WORKING_PIXEL_UM)


def _saturated(pixels: RGB) -> float:
    """Return the share of the pixels that are white in every colour."""
    red, green, blue = cv2.split(pixels)
    darkest = np.minimum(np.minimum(red, green), blue)
    return np.count_nonzero(darkest >= SATURATED) / darkest.size


def _fading(glass: stain.Glass) -> float:
    """Return the decades between the brightest and the darkest glass of the field."""
    light = stain.light_terms(9, 9) @ glass.slopes
    return float(np.ptp(light, axis=(0, 1)).max())
