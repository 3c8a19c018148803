"""The cells of a large image, tile by tile, in bounded memory.

Threads take the tiles in turn; OpenCV, ONNX Runtime and the decoders leave Python free
while they work. Empty glass is told by a glance at a coarse copy.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial

import cv2
import numpy as np

from cellrot_infer import stain
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import FrameError
from cellrot_infer.largeimage import LargeImage
from cellrot_infer.patches import cut_patches
from cellrot_infer.raster import scanned
from cellrot_infer.reference import GLANCE, Reference, find_reference
from cellrot_infer.segment import find_cells
from cellrot_infer.tiles import BLOCK, Grid, Tile, inside, middle_px, overlap
from cellrot_infer.types import (
    EVERYTHING,
    PATCH_SIDE_PX,
    RGB,
    Box,
    Cell,
    Frame,
    PixelSize,
    Polygon,
    Predictions,
    Selection,
)

OVERVIEW_SIDE_PX = 4096
AROUND = 32  # working pixels, 6.4 um: a nucleus whose middle is in a core reaches there
SUSPICIOUS = 1 / 3  # of the nuclear stain, where a coarse pixel shows part of a nucleus
AHEAD = 2  # tiles begun beyond those in work
OUTLINE_PX = 1.0  # to which outlines are simplified, since millions of points are many
GOLDEN = (5**0.5 - 1) / 2
WHITE = 255

OnPart = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What was found in a large image, from top to bottom, in pixels of its level 0.

    `overview` is a smaller copy of the image, white where it was not looked at. Of the
    `tiles` that were to be looked at, `seen` were, and `empty` showed no nucleus.
    """

    cells: tuple[Cell, ...]
    predictions: Predictions
    overview: Frame
    glass: RGB
    tiles: int
    seen: int
    empty: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The cells of a tile, in pixels of the level, and a coarse view of its core.

    `predictions` are None where no nucleus was suspected.
    """

    cells: list[Cell]
    predictions: Predictions | None
    view: RGB


def scan(
    image: LargeImage,
    classifier: Classifier,
    selection: Selection = EVERYTHING,
    on_part: OnPart = lambda part: None,
) -> Scan:
    """Find the cells of `image` and classify them.

    `on_part` is told how much of the image, from 0 to 1, was done since it was told
    last. Raises FrameError where the file is damaged.
    """
    grid = Grid.over(image.size_px, image.level_pixel_um)
    region = _region(image, selection)
    tiles = _in_view(grid, region, spread=selection.max_cells is not None)
    overview = _Overview(image)
    room = sys.maxsize if selection.max_cells is None else selection.max_cells
    founds: list[Found] = []
    with ThreadPoolExecutor(classifier.threads) as pool:
        reference = find_reference(image, grid, pool.map)
        look = partial(_look, image, grid, reference, classifier, overview.factor)
        for tile, found in _in_turn(pool, look, tiles, classifier.threads + AHEAD):
            overview.paste(tile.core, found.view)
            founds.append(_first(_within(found, region), room))
            room -= len(founds[-1].cells)
            on_part(1 / len(tiles))
            if room <= 0:
                break
    on_part(1 - len(founds) / len(tiles))
    cells, predictions = _joined(founds, classifier)
    return Scan(
        tuple(moved(cell, 0, 0, image.downsample) for cell in cells),
        predictions,
        overview.frame(),
        reference.glass_rgb,
        len(tiles),
        len(founds),
        sum(found.predictions is None for found in founds),
    )


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


def moved(cell: Cell, x_px: float, y_px: float, factor: float = 1.0) -> Cell:
    """Return `cell` enlarged by `factor`, then moved by so many pixels."""

    def there(polygon: Polygon) -> Polygon:
        points = np.rint(np.array(polygon) * factor + (x_px, y_px)).astype(int)
        return tuple(map(tuple, points.tolist()))

    box = cell.box
    left, top = box.x_px * factor + x_px, box.y_px * factor + y_px
    size = round(box.width_px * factor), round(box.height_px * factor)
    return replace(
        cell,
        box=Box(round(left), round(top), *size),
        outline=there(cell.outline),
        nucleus=tuple(map(there, cell.nucleus)),
    )


class Recut:
    """The patches of cells of a large image, cut out again one after the other.

    So many would not fit into the memory. `cells` count in pixels of level 0.
    """

    def __init__(
        self, image: LargeImage, cells: Sequence[Cell], glass: RGB, card_um: float
    ) -> None:
        self._image, self._cells, self._glass = image, cells, glass
        self._pixel_size_um = card_um

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[RGB]:
        """Yield a patch (256, 256, 3) a cell."""
        step = 1 / self._image.downsample
        for cell in self._cells:
            there = moved(cell, 0, 0, step) if step < 1 else cell
            yield self._patch(there)

    def _patch(self, cell: Cell) -> RGB:
        um = self._image.level_pixel_um
        reach = int(PATCH_SIDE_PX * self._pixel_size_um / um / 2) + 2
        x, y = (int(middle) for middle in cell.centre_px)
        width, height = self._image.size_px
        left, top = max(x - reach, 0), max(y - reach, 0)
        right, bottom = min(x + reach + 1, width), min(y + reach + 1, height)
        around = Box(left, top, right - left, bottom - top)
        pixels = _filled(self._image.read(around), self._glass)
        frame = Frame(self._image.name, pixels, PixelSize(um, "option"))
        cells = [moved(cell, -left, -top)]
        return cut_patches(frame, cells, self._pixel_size_um, self._glass)[0]


class _Overview:
    """A small copy of a large image, made of what is seen of it on the way."""

    def __init__(self, image: LargeImage) -> None:
        self._image = image
        width, height = image.size_px
        self.factor = max(1.0, max(width, height) / OVERVIEW_SIDE_PX)
        shape = self._at(height), self._at(width), 3
        self._pixels = np.full(shape, WHITE, np.uint8)

    def paste(self, core: Box, view: RGB) -> None:
        """Put the `view` of a core into its place."""
        rows = slice(self._at(core.y_px), self._at(core.y_px + core.height_px))
        columns = slice(self._at(core.x_px), self._at(core.x_px + core.width_px))
        place = self._pixels[rows, columns]
        if place.size:
            size = place.shape[1], place.shape[0]
            place[:] = cv2.resize(view, size, interpolation=cv2.INTER_AREA)

    def frame(self) -> Frame:
        """Return the copy as a frame at its own scale."""
        image = self._image
        um = image.level_pixel_um * self.factor
        size = replace(image.pixel_size, um=um)
        return Frame(image.name, self._pixels, size, image.sha256, image.warnings)

    def _at(self, length_px: int) -> int:
        return max(round(length_px / self.factor), 1 if length_px else 0)


def _look(
    image: LargeImage,
    grid: Grid,
    reference: Reference,
    classifier: Classifier,
    factor: float,
    tile: Tile,
) -> Found:
    """Return what is in `tile`; its view is `factor` times smaller."""
    around = grid.around(tile, AROUND)
    coarse = max(1.0, grid.block_px / BLOCK * GLANCE)
    finest = min(coarse, factor)
    glance = image.glance(around, finest)
    view = _part(glance, around, tile.core)
    small = stain.shrink(glance, finest / coarse)
    if not _suspicious(small, around, image.size_px, reference):
        return Found([], None, view)
    cells, pixels = tile_cells(image, grid, reference, tile)
    frame = Frame(
        image.name,
        _filled(pixels, reference.glass_rgb),
        PixelSize(image.level_pixel_um, image.pixel_size.source),
    )
    card_um = classifier.card.pixel_size_um
    patches = cut_patches(frame, cells, card_um, reference.glass_rgb)
    x, y = tile.box.x_px, tile.box.y_px
    own = [_simplified(moved(cell, x, y)) for cell in cells]
    return Found(own, classifier.classify(patches), view)


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
    at = np.float32(x)[None, :], np.float32(y)[:, None]
    score = stain.nuclear_stain(stain.optical_density(glance, reference.glass, at))
    least = SUSPICIOUS * reference.known.nuclear_threshold
    return bool((score[scanned(glance)] > least).any())


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


def _region(image: LargeImage, selection: Selection) -> Box:
    """Return the part of the level that is asked for."""
    width, height = image.size_px
    box, step = selection.region, image.downsample
    if box is None:
        return Box(0, 0, width, height)
    left, top = round(box.x_px / step), round(box.y_px / step)
    right = min(round((box.x_px + box.width_px) / step), width)
    bottom = min(round((box.y_px + box.height_px) / step), height)
    if left >= right or top >= bottom:
        full = image.raster.sizes_px[0]
        raise FrameError(
            f"{image.name}: --region lies outside of its {full[0]} x {full[1]} pixels"
        )
    return Box(left, top, right - left, bottom - top)


def _in_view(grid: Grid, region: Box, *, spread: bool) -> list[Tile]:
    """Return the tiles with a core in `region`; row after row, or `spread` evenly."""
    tiles = [tile for tile in grid.tiles() if overlap(tile.core, region)]
    if spread:  # multiples of the golden ratio leave no part out for long
        tiles = [tiles[n] for n in np.argsort(np.arange(len(tiles)) * GOLDEN % 1)]
    return tiles


def _in_turn(
    pool: ThreadPoolExecutor,
    look: Callable[[Tile], Found],
    tiles: Sequence[Tile],
    most: int,
) -> Iterator[tuple[Tile, Found]]:
    """Yield what is found in each of `tiles`, in their order; `most` are begun."""
    begun: deque[tuple[Tile, Future[Found]]] = deque()
    try:
        for tile in tiles:
            begun.append((tile, pool.submit(look, tile)))
            if len(begun) >= most:
                first, found = begun.popleft()
                yield first, found.result()
        for tile, found in begun:
            yield tile, found.result()
    finally:
        for _, found in begun:
            found.cancel()


def _within(found: Found, region: Box) -> Found:
    """Return the cells whose nucleus has its middle in `region`."""
    return _kept(
        found, [n for n, c in enumerate(found.cells) if inside(region, *middle_px(c))]
    )


def _first(found: Found, most: int) -> Found:
    return _kept(found, range(min(most, len(found.cells))))


def _kept(found: Found, numbers: Sequence[int]) -> Found:
    """Return the cells of these `numbers` with their predictions."""
    if found.predictions is None or len(numbers) == len(found.cells):
        return found
    cells = [found.cells[n] for n in numbers]
    return replace(found, cells=cells, predictions=_taken(found.predictions, numbers))


def _joined(
    founds: Sequence[Found], classifier: Classifier
) -> tuple[list[Cell], Predictions]:
    """Return all cells from top to bottom, then left to right, with predictions."""
    cells = [cell for found in founds for cell in found.cells]
    parts = [found.predictions for found in founds if found.predictions is not None]
    if not parts:
        return [], classifier.classify(
            np.empty((0, PATCH_SIDE_PX, PATCH_SIDE_PX, 3), np.uint8)
        )
    order = sorted(
        range(len(cells)), key=lambda n: (cells[n].box.y_px, cells[n].box.x_px)
    )
    columns = (
        (entry.name, [getattr(part, entry.name) for part in parts])
        for entry in fields(Predictions)
    )
    together = Predictions(
        **{
            name: None if values[0] is None else np.concatenate(values)
            for name, values in columns
        }
    )
    return [cells[n] for n in order], _taken(together, order)


def _taken(predictions: Predictions, numbers: Sequence[int]) -> Predictions:
    """Return the predictions for the cells of these `numbers`, in their order."""
    chosen = np.array(numbers, np.intp)
    columns = {
        entry.name: getattr(predictions, entry.name) for entry in fields(predictions)
    }
    return Predictions(
        **{name: None if v is None else v[chosen] for name, v in columns.items()}
    )


def _filled(pixels: RGB, glass: RGB) -> RGB:
    """Return `pixels` with glass where nothing was scanned."""
    seen = scanned(pixels)
    return pixels if seen.all() else np.where(seen[..., None], pixels, glass)


def _simplified(cell: Cell) -> Cell:
    return replace(
        cell,
        outline=_fewer_points(cell.outline),
        nucleus=tuple(map(_fewer_points, cell.nucleus)),
    )


def _fewer_points(polygon: Polygon) -> Polygon:
    points = np.array(polygon, np.int32)
    fewer = cv2.approxPolyDP(points, OUTLINE_PX, True)[:, 0]
    return tuple(map(tuple, fewer.tolist())) if len(fewer) > 2 else polygon
