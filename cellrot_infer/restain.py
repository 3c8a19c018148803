"""Patches in the colours of the stain that a model learned.

Dyes and cameras differ between laboratories, and with them the hues of nuclei and of
red cells, by far more than they vary within one. Every field shows both, so that a
linear map of optical densities can take them to those of the model's own laboratory,
and all other dyes along. (Macenko et al., ISBI 2009, do so for histology, with the two
hues that a slide is mixed of.) How much dye there is stays: that depends on the cells.
"""

import cv2
import numpy as np

from cellrot_infer.types import RGB, Floats, Patches, StainColours

# From which angle on hues are not those of the model's laboratory, and from which on
# they surely are another's: 95 % of the fields of one are within the first.
USUAL_RAD, STRANGE_RAD = np.radians(4), np.radians(8)
LEAST_APART_RAD = np.radians(8)  # nuclei and red cells that look alike tell no hues


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
    if _angle_rad(own.red_cells, own.nuclei) < LEAST_APART_RAD:
        return 0.0
    angle_rad = max(
        _angle_rad(own.red_cells, wanted.red_cells),
        _angle_rad(own.nuclei, wanted.nuclei),
    )
    share = (angle_rad - USUAL_RAD) / (STRANGE_RAD - USUAL_RAD)
    return float(np.clip(share, 0, 1))


def _mapped(patch: RGB, light: Floats, matrix: Floats) -> RGB:
    """Return `patch` with `matrix` (3, 3) applied to its optical density."""
    clear = np.log(light + 1.0)
    levels = np.log(np.arange(256)[:, None] + 1.0)
    table = (clear - levels).astype(np.float32)[None]
    density = cv2.LUT(patch, table)
    log_light = cv2.transform(density, np.column_stack([-matrix, clear]))
    changed = cv2.exp(log_light) - 1
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _angle_rad(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.arccos(np.clip(np.dot(one, other), -1, 1)))


def _basis(colours: StainColours) -> Floats:
    """Return red cells, nuclei and what is neither as columns."""
    known = np.array([colours.red_cells, colours.nuclei])
    rest = np.cross(*known)
    columns = np.vstack([known, rest / np.linalg.norm(rest)]).T
    return columns.astype(np.float32)
