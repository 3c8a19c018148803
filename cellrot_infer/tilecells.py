"""One tile of a large image: the cells that belong to it, classified.

Empty glass is told by a glance at a coarse copy.
"""

from dataclasses import dataclass

import numpy as np

from cellrot_infer import stain
from cellrot_infer.classify import Classifier
from cellrot_infer.field import Field
from cellrot_infer.largeimage import LargeImage
from cellrot_infer.patches import cut_patches
from cellrot_infer.quality import field_quality
from cellrot_infer.reference import GLANCE, Reference
from cellrot_infer.restain import as_at_home
from cellrot_infer.segment import find_cells
from cellrot_infer.tiles import BLOCK, Grid, Tile, moved
from cellrot_infer.types import RGB, Box, Cell, Frame, PixelSize, Predictions

AROUND = 32  # working pixels, 6.4 um: a nucleus whose middle is in a core reaches there
SUSPICIOUS = 1 / 3  # of the nuclear stain, where a coarse pixel shows part of a nucleus


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The cells of a tile, in pixels of the level, and what speaks against them.

    `predictions` are None where no nucleus was suspected.
    """

    cells: list[Cell]
    predictions: Predictions | None
    faults: tuple[str, ...] = ()


def look(
    image: LargeImage,
    grid: Grid,
    reference: Reference,
    classifier: Classifier,
    factor: float,
    tile: Tile,
) -> tuple[Found, RGB]:
    """Return what is in `tile`, and its core, `factor` times smaller."""
    around = grid.around(tile, AROUND)
    coarse = max(1.0, grid.block_px / BLOCK * GLANCE)
    finest = min(coarse, factor)
    glance = image.glance(around, finest)
    view = _part(glance, around, tile.core)
    small = stain.shrink(glance, finest / coarse)
    if not _suspicious(small, around, image.size_px, reference):
        return Found([], None), view
    cells, pixels = tile_cells(image, grid, reference, tile)
    frame = Frame(
        image.name,
        reference.filled(pixels),
        PixelSize(image.level_pixel_um, image.pixel_size.source),
    )
    card, light = classifier.card, reference.glass.light
    patches = cut_patches(frame, cells, card.pixel_size_um, reference.glass_rgb)
    if not cells:
        return Found([], classifier.classify(patches)), view
    faults = field_quality(Field.of(frame), cells).warnings
    colours, focus = reference.known.colours, reference.focus
    patches = as_at_home(patches, light, colours, focus, card)
    x, y = tile.box.x_px, tile.box.y_px
    own = [moved(cell, x, y) for cell in cells]
    return Found(own, classifier.classify(patches), faults), view


def tile_cells(
    image: LargeImage, grid: Grid, reference: Reference, tile: Tile
) -> tuple[list[Cell], RGB]:
    """Return the cells that belong to `tile`, and the pixels of its box.

    They are those that one piece would give; they count from the corner of the box.
    """
    pixels = image.read(tile.box)
    small = grid.resample(pixels)
    rows, columns = grid.window(tile.box)
    width, height = grid.working_size
    x, y = stain.places(height, width)
    density = reference.density(small, (x[:, columns], y[rows]))
    down, across = small.shape[:2]
    step = grid.block_px / BLOCK  # exact, since a block is a power of two
    cells = find_cells(
        density, (down * step, across * step), image.level_pixel_um, reference.known
    )
    return [cell for cell in cells if tile.owns(cell)], pixels


def _suspicious(
    glance: RGB, around: Box, size_px: tuple[int, int], reference: Reference
) -> bool:
    """Return whether a nucleus may be in what is seen at a `glance`."""
    x, y = (
        np.linspace(2 * start / side - 1, 2 * (start + length) / side - 1, pixels)
        for start, length, side, pixels in zip(
            (around.x_px, around.y_px),
            (around.width_px, around.height_px),
            size_px,
            glance.shape[1::-1],
            strict=True,
        )
    )
    at = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
    score = stain.nuclear_stain(stain.optical_density(glance, reference.glass, at))
    least = SUSPICIOUS * reference.known.nuclear_threshold
    return bool((score > least).any())


def _part(glance: RGB, around: Box, core: Box) -> RGB:
    """Return what shows `core` in a `glance` at what is around it."""
    down, across = (
        glance.shape[0] / around.height_px,
        glance.shape[1] / around.width_px,
    )
    top = round((core.y_px - around.y_px) * down)
    left = round((core.x_px - around.x_px) * across)
    bottom = max(top + round(core.height_px * down), top + 1)
    right = max(left + round(core.width_px * across), left + 1)
    return glance[top:bottom, left:right]
