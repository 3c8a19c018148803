"""Patches in the colours of the stain that a model learned, and as sharp.

Dyes and cameras differ between laboratories, and with them the hues of nuclei and of
red cells, by far more than they vary within one. Every field shows both, so that a
linear map of optical densities can take them to those of the model's own laboratory,
and all other dyes along. (Macenko et al., ISBI 2009, do so for histology, with the two
hues that a slide is mixed of.) How much dye there is stays: that depends on the cells.

Where the colours are another laboratory's, so is the lens: what is softer than the
fields of the model's own is sharpened towards them.
"""

import cv2
import numpy as np

from cellrot_infer.card import ModelCard
from cellrot_infer.quality import FINE_UM
from cellrot_infer.types import RGB, Floats, Patches, StainColours

# From which angle on hues are not those of the model's laboratory, and from which on
# they surely are another's: 95 % of the fields of one are within the first.
USUAL_RAD, STRANGE_RAD = np.radians(4), np.radians(8)
LEAST_APART_RAD = np.radians(8)  # nuclei and red cells that look alike tell no hues
MOST_SHARPENED = 1.5  # of the fine detail, added to it; more brings out noise


def as_at_home(
    patches: Patches,
    light: Floats,
    own: StainColours | None,
    focus: float,
    card: ModelCard,
) -> Patches:
    """Return `patches` as the laboratory of `card` would show them.

    They are of a field of the colours `own` and of this `focus` (see `FieldQuality`),
    in front of `light` (3,). A field of that laboratory is left alone.
    """
    amount = unlikeness(own, card.stain) * sharpening(focus, card.focus)
    coloured = restained(patches, light, own, card.stain)
    if not amount or not len(patches):
        return coloured
    sigma_px = FINE_UM / card.pixel_size_um
    return np.stack([_sharpened(patch, sigma_px, amount) for patch in coloured])


def sharpening(focus: float, wanted: float) -> float:
    """Return how much of the fine detail to add so that the focus is the one wanted.

    The focus is the share of the fine in all detail, f. With a times the fine added, it
    is f (1 + a) / (1 + a f); real fields gain less, being blurred before they are
    measured. A `wanted` one of 0 is not known.
    """
    if not 0 < focus < wanted < 1:
        return 0.0
    return min((wanted - focus) / (focus * (1 - wanted)), MOST_SHARPENED)


def restained(
    patches: Patches,
    light: Floats,
    own: StainColours | None,
    wanted: StainColours | None,
) -> Patches:
    """Return `patches`, of the colours `own` in front of `light` (3,), in those wanted.

    `light` are the grey levels of empty glass. The patches themselves are returned
    where colours are not known, or are much the same.
    """
    strangeness = unlikeness(own, wanted)
    if own is None or wanted is None or strangeness == 0 or not len(patches):
        return patches
    whole = _basis(wanted) @ np.linalg.inv(_basis(own))
    matrix = (strangeness * whole + (1 - strangeness) * np.eye(3)).astype(np.float32)
    return np.stack([_mapped(patch, light, matrix) for patch in patches])


def unlikeness(own: StainColours | None, wanted: StainColours | None) -> float:
    """Return from 0 to 1 how sure it is that colours are not those wanted."""
    if own is None or wanted is None:
        return 0.0
    if not (_tells_hues(own) and _tells_hues(wanted)):
        return 0.0
    angle_rad = max(
        _angle_rad(own.red_cells, wanted.red_cells),
        _angle_rad(own.nuclei, wanted.nuclei),
    )
    share = (angle_rad - USUAL_RAD) / (STRANGE_RAD - USUAL_RAD)
    return float(np.clip(share, 0, 1))


def _tells_hues(colours: StainColours) -> bool:
    """Return whether nuclei and red cells differ enough to compare them by."""
    apart: bool = _angle_rad(colours.red_cells, colours.nuclei) >= LEAST_APART_RAD
    return apart


def _mapped(patch: RGB, light: Floats, matrix: Floats) -> RGB:
    """Return `patch` with `matrix` (3, 3) applied to its optical density."""
    clear = np.log(light + 1.0)
    levels = np.log(np.arange(256)[:, None] + 1.0)
    table = (clear - levels).astype(np.float32)[None]
    density = cv2.LUT(patch, table)
    log_light = cv2.transform(density, np.column_stack([-matrix, clear]))
    changed = cv2.exp(log_light) - 1
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _sharpened(patch: RGB, sigma_px: float, amount: float) -> RGB:
    soft = cv2.GaussianBlur(patch, (0, 0), sigma_px)
    return cv2.addWeighted(patch, 1 + amount, soft, -amount, 0).astype(np.uint8)


def _angle_rad(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.arccos(np.clip(np.dot(one, other), -1, 1)))


def _basis(colours: StainColours) -> Floats:
    """Return red cells, nuclei and what is neither as columns."""
    known = np.array([colours.red_cells, colours.nuclei])
    rest = np.cross(*known)
    columns = np.vstack([known, rest / np.linalg.norm(rest)]).T
    return columns.astype(np.float32)
