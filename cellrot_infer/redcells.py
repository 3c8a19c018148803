"""What the red cells of a frame look like, learnt from the frame.

Red cells, whatever their shade, lie along one direction of colour through the empty
glass: thick or thin, they hold the same dyes in the same proportion. What is off this
axis, or much fainter than a red cell, belongs to a nucleated cell or a platelet.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.regions import (
    PIXEL_UM2,
    WORKING_PIXEL_UM,
    components,
    depth_um,
    filled,
    opened,
)
from cellrot_infer.stain import Moments
from cellrot_infer.types import Floats, Mask

STEP = 2  # rows and columns of the sample
LEAST_DYE = 0.08  # decades in all colours; fainter is glass or a ghost
ALONE_FROM_UM = 1.0  # from a nucleus, in what no nucleus touches
ATTACHED_FROM_UM = 5.0  # from a nucleus, in what may be its own cytoplasm
LEAST_AREA_UM2 = 60.0  # of red cells from which their look can be learnt
SPREADS = 2.0  # further off the axis, in standard deviations, is another colour
NARROWEST = 0.015  # decades off the axis that noise alone explains
PALEST = 0.5  # of the typical amount of dye; less is no red cell
CENTRE_UM2 = 12.0  # the pale centre of a red cell is smaller
RIM_UM = 0.5
CAMERA_NOISE = 0.01  # decades
LEAST_SAMPLE_PX = 20
TYPICAL_SHARE = 85  # per cent of a sample of cytoplasm; the rest are granules, vacuoles
LIKELIHOOD_BLUR_UM = 0.4
FOLD_DYE = 0.65  # of the dye of a red cell, off its axis; less may be a fold
FOLD_COSINE = float(np.cos(np.radians(14)))  # to the axis; more may be a fold


@dataclass(frozen=True, slots=True, eq=False)
class RedCells:
    """The look of the red cells of a frame, in decades of light lost.

    `axis` (3,) is their colour, of length one; `amount` the typical dye along it and
    `spread` how far noise and other dyes lead off it; `mean` (3,) and `covariance`
    (3, 3) describe their density.
    """

    axis: Floats
    amount: float
    spread: float
    mean: Moments
    covariance: Moments


def learn_red_cells(density: Floats, dyed: Mask, nuclei: Mask) -> RedCells | None:
    """Return the look of what is `dyed` far from nuclei, None if that is too little.

    All are a sample of a field, every `STEP` rows and columns of it.
    """
    parts = components(dyed)
    nucleated = np.zeros(len(parts), bool)
    nucleated[parts.labels[nuclei]] = True
    least_um = np.where(nucleated, ATTACHED_FROM_UM, ALONE_FROM_UM).astype(np.float32)
    red = dyed & (depth_um(~nuclei) * STEP > least_um[parts.labels])
    red &= stain.total_dye(density) > LEAST_DYE
    if np.count_nonzero(red) * PIXEL_UM2 * STEP**2 < LEAST_AREA_UM2:
        return None
    sample = stain.thinned(density)[stain.thinned(red)]
    colour = np.median(sample, axis=0)
    axis = colour / np.linalg.norm(colour)
    along = sample @ axis
    off = np.linalg.norm(sample - along[:, None] * axis, axis=1)
    deviation = 1.48 * float(np.median(np.abs(off - np.median(off))))
    spread = max(NARROWEST, float(np.median(off)) + SPREADS * deviation)
    typical = sample[off < 2 * spread]
    return RedCells(
        axis.astype(np.float32),
        float(np.median(along)),
        spread,
        typical.mean(axis=0),
        np.cov(typical.T) + np.eye(3) * CAMERA_NOISE**2,
    )


def looks_red(density: Floats, red_cells: RedCells, nuclei: Mask) -> Mask:
    """Return where the colour and the amount of dye are those of red cells."""
    along = dye_along(density, red_cells)
    off_squared = stain.total_dye(density * density) - along * along
    reach = red_cells.spread * np.maximum(1, along / red_cells.amount)
    red = (off_squared < reach * reach) & (along > PALEST * red_cells.amount)
    return whole_red_cells(red, nuclei)


def looks_red_beside(density: Floats, surprise: Floats, cytoplasm: Mask) -> Mask | None:
    """Return where red cells are likelier than the cell of which `cytoplasm` is a part.

    `surprise` is that of `red_surprise`. Both are taken as normal distributions of
    density; a few pixels around the nucleus tell that of the cell. None where these are
    too few.
    """
    sample = density[cytoplasm]
    if len(sample) < LEAST_SAMPLE_PX:
        return None
    off = sample - np.median(sample, axis=0)
    off = np.einsum("nc,nc->n", off, off)
    sample = sample[off <= np.percentile(off, TYPICAL_SHARE)]
    covariance = 1.5 * np.cov(sample.T) + np.eye(3) * CAMERA_NOISE**2
    own = _surprise(density, sample.mean(axis=0), covariance)
    ratio = np.clip(own - surprise, -10, 10)
    likelier: Mask = stain.blurred(ratio, LIKELIHOOD_BLUR_UM / WORKING_PIXEL_UM) > 0
    return likelier


def red_surprise(density: Floats, red_cells: RedCells) -> Floats:
    """Return how unlike red cells each pixel is: minus twice the log likelihood.

    Infinite where there is too little dye for a red cell.
    """
    surprise = _surprise(density, red_cells.mean, red_cells.covariance)
    surprise[dye_along(density, red_cells) <= PALEST * red_cells.amount] = np.inf
    return surprise


def whole_red_cells(red: Mask, nuclei: Mask) -> Mask:
    """Return `red` with its pale centres and without stray pixels."""
    return opened(filled(red & ~nuclei, CENTRE_UM2) & ~nuclei, RIM_UM)


def is_fold(colour: Floats, red_cells: RedCells) -> bool:
    """Tell whether dye of mean density `colour` (3,) may be a red cell folded over.

    Where two or three layers lie on each other the camera sees less pure a colour, but
    one still near the axis.
    """
    along = float(colour @ red_cells.axis)
    length = float(np.linalg.norm(colour))
    off = float(np.sqrt(max(length**2 - along**2, 0)))
    return off < FOLD_DYE * red_cells.amount and along > FOLD_COSINE * length


def dye_along(density: Floats, red_cells: RedCells) -> Floats:
    """Return the dye of the colour of red cells, (H, W)."""
    return np.asarray(cv2.transform(density, red_cells.axis[None]), np.float32)


def _surprise(density: Floats, mean: Moments, covariance: Moments) -> Floats:
    """Return minus twice the log likelihood of each pixel, up to a constant."""
    distance = stain.squared_distance(density, mean, covariance)
    return distance + np.float32(np.log(np.linalg.det(covariance)))
