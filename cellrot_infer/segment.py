"""Find the nucleated cells of a frame: nuclei first, then the cytoplasm around them.

All lengths are micrometres and all colours optical density, the same for every
laboratory; what is measured anew in each frame is its light, its noise, its stain and
its red cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.cytoplasm import (
    MARGIN_UM,
    Calibration,
    Scene,
    calibrated,
    find_bodies,
    survey,
)
from cellrot_infer.field import Field
from cellrot_infer.lobes import Nucleus, join_lobes
from cellrot_infer.nuclei import find_lobes, nuclear_threshold, sharpened
from cellrot_infer.outline import Drawn, Points, draw_cell, polygons
from cellrot_infer.redcells import is_fold
from cellrot_infer.regions import (
    WORKING_PIXEL_UM,
    Components,
    Labels,
    Window,
    bounds,
    components,
    nearest,
    neighbourhoods,
    padded,
    solidity,
    within,
)
from cellrot_infer.types import Box, Cell, Floats, Frame, Mask, Polygon, StainColours

SMOOTHING_UM = 0.15
SMALLEST_NUCLEUS_UM2 = 11.0
SMALLEST_CUT_NUCLEUS_UM2 = 3.5  # where the border of the frame cuts it
LARGEST_DOUBTFUL_UM2 = 25.0  # a nucleus that looks like something else is larger
# Of the threshold of nuclear stain: a small nucleus has more in its middle, and a piece
# at the border that a platelet may be as large as has to show more.
CLEAR, CLEAR_PIECE = 1.15, 1.5
RAGGED = 0.7  # solidity of an outline that cannot be trusted


def segment(frame: Frame) -> list[Cell]:
    """Return the nucleated cells of `frame`, from top to bottom, then left to right.

    Cells at the border of the frame are kept and flagged. The same frame gives the same
    cells.
    """
    cells, _ = segment_field(Field.of(frame))
    return cells


def segment_field(field: Field) -> tuple[list[Cell], StainColours | None]:
    """Return the cells of `field`, and the colours of its stain where it shows them."""
    density, frame = smoothed(field.density), field.frame
    score = stain.nuclear_stain(density)
    threshold = nuclear_threshold(score)
    lobes = find_lobes(score, threshold)
    if len(lobes) < 2:
        return [], None
    known = calibrated(density, threshold, lobes)
    size_px = frame.pixels.shape[:2]
    return _cells(density, lobes, known, size_px, frame.pixel_size_um), known.colours


def find_cells(
    density: Floats,
    size_px: tuple[float, ...],
    pixel_size_um: float,
    known: Calibration,
) -> list[Cell]:
    """Return the cells of a part of a field, of whose stain all is `known`.

    `density` is at the working scale and smoothed; `size_px`, height and width, and
    `pixel_size_um` are those of the part's pixels, in which the cells are given.
    """
    lobes = find_lobes(stain.nuclear_stain(density), known.nuclear_threshold)
    return _cells(density, lobes, known, size_px, pixel_size_um)


def _cells(
    density: Floats,
    lobes: Components,
    known: Calibration,
    size_px: tuple[float, ...],
    pixel_size_um: float,
) -> list[Cell]:
    """Return the cells around `lobes` of nuclei; see `find_cells`."""
    around = {n: lobes.window(n, MARGIN_UM) for n in range(1, len(lobes))}
    cells = [
        _cell(drawn, density.shape, size_px, pixel_size_um)
        for window, numbers in neighbourhoods(around)
        for drawn in _draw_cells(density, window, lobes.mask(numbers, window), known)
    ]
    return sorted(cells, key=lambda cell: (cell.box.y_px, cell.box.x_px))


def smoothed(density: Floats) -> Floats:
    """Return optical density without the noise that finds no cells."""
    return stain.blurred(density, SMOOTHING_UM / WORKING_PIXEL_UM)


def _draw_cells(
    density: Floats, window: Window, nuclei: Mask, known: Calibration
) -> Iterator[Drawn]:
    """Yield the cells of these `nuclei` in one window; far from all others."""
    scene = survey(np.ascontiguousarray(density[window]), components(nuclei), known)
    bodies = find_bodies(scene)
    lobes = _sharpened(scene, bodies)
    least = known.nuclear_threshold
    joined = join_lobes(lobes, bodies)
    whole = [n for n in joined if _is_nucleus(n, lobes, scene, least)]
    labels = _numbered(whole, lobes)
    territory, _ = nearest(labels)
    for number, nucleus in enumerate(whole, start=1):
        part = _window(nucleus, lobes)
        own, mask = territory[part] == number, labels[part] == number
        drawn = draw_cell(scene, bodies[part], own, mask, part)
        yield replace(drawn, window=within(window, drawn.window))


def _sharpened(scene: Scene, bodies: Mask) -> Components:
    """Return the lobes, each with its edge half way to the cytoplasm around it.

    What the threshold of the whole frame had run together falls apart.
    """
    lobes = scene.lobes
    sharp = np.zeros_like(bodies)
    for number in range(1, len(lobes)):
        window = lobes.window(number, MARGIN_UM)
        own = bodies[window] & (scene.owner[window] == number)
        window = within(window, bounds(own, SMOOTHING_UM * 4))
        own = bodies[window] & (scene.owner[window] == number)
        lobe = lobes.labels[window] == number
        sharp[window] |= sharpened(scene.density[window], own, lobe)
    return components(sharp)


def _is_nucleus(
    nucleus: Nucleus, lobes: Components, scene: Scene, threshold: float
) -> bool:
    """Tell nuclei from platelets, precipitate and folded or blotched red cells.

    `threshold` is the nuclear stain from which on nuclei are seen.
    """
    height, width = scene.dyed.shape
    boxes = lobes.boxes[list(nucleus.pieces)]
    ends = boxes[:, :2] + boxes[:, 2:]
    cut = boxes[:, :2].min() <= 0 or (ends >= (width, height)).any()
    least_um2 = SMALLEST_CUT_NUCLEUS_UM2 if cut else SMALLEST_NUCLEUS_UM2
    if nucleus.area_um2 < least_um2:
        return False
    if nucleus.area_um2 > LARGEST_DOUBTFUL_UM2:
        return True
    pieces = [_density_in(piece, lobes, scene) for piece in nucleus.pieces]
    clear = CLEAR if nucleus.area_um2 > SMALLEST_NUCLEUS_UM2 else CLEAR_PIECE
    if np.median(stain.nuclear_stain(np.vstack(pieces))) < clear * threshold:
        return False
    red_cells = scene.red_cells
    return red_cells is None or not all(
        is_fold(piece.mean(axis=(0, 1)), red_cells) for piece in pieces
    )


def _density_in(lobe: int, lobes: Components, scene: Scene) -> Floats:
    """Return the density of the pixels of a lobe, (N, 1, 3)."""
    window = lobes.window(lobe)
    inside = lobes.labels[window] == lobe
    return np.asarray(scene.density[window][inside][:, None], np.float32)


def _numbered(nuclei: Sequence[Nucleus], lobes: Components) -> Labels:
    """Return where each nucleus is, numbered from 1 in their order."""
    number_of = np.zeros(len(lobes), np.int32)
    for number, nucleus in enumerate(nuclei, start=1):
        number_of[list(nucleus.pieces)] = number
    numbered: Labels = number_of[lobes.labels]
    return numbered


def _window(nucleus: Nucleus, lobes: Components) -> Window:
    """Return the part of the frame that may hold the cell of `nucleus`."""
    windows = [lobes.window(piece, MARGIN_UM) for piece in nucleus.pieces]
    rows, columns = zip(*windows, strict=True)
    return (
        slice(min(r.start for r in rows), max(r.stop for r in rows)),
        slice(min(c.start for c in columns), max(c.stop for c in columns)),
    )


def _cell(
    drawn: Drawn,
    shape: tuple[int, ...],
    size_px: tuple[float, ...],
    pixel_size_um: float,
) -> Cell:
    height, width = size_px
    grid, full = (shape[0], shape[1]), (height, width)
    outline = max(polygons(drawn.cell, drawn.window, grid, full), key=cv2.contourArea)
    lobes = polygons(drawn.nucleus, drawn.window, grid, full)
    pixel_um2 = pixel_size_um**2
    x, y, box_width, box_height = cv2.boundingRect(outline)
    margin = width / shape[1]
    right, bottom = width - x - box_width, height - y - box_height
    return Cell(
        box=Box(x, y, box_width, box_height),
        outline=_polygon(outline),
        nucleus=tuple(map(_polygon, lobes)),
        area_um2=cv2.contourArea(outline) * pixel_um2,
        nucleus_area_um2=sum(map(cv2.contourArea, lobes)) * pixel_um2,
        touches_border=min(x, y, right, bottom) <= margin,
        quality=_quality(drawn),
    )


def _quality(drawn: Drawn) -> float:
    """Return 0 for a ragged outline, which has often caught a neighbour, to 1."""
    smooth = (solidity(padded(drawn.cell, 2)) - RAGGED) / (1 - RAGGED)
    return round(min(max(smooth, 0.0), 1.0), 3)


def _polygon(points: Points) -> Polygon:
    return tuple(zip(*points.T.tolist(), strict=True))
