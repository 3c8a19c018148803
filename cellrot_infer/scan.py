"""The cells of a large image, tile by tile, in bounded memory.

Threads take the tiles in turn; OpenCV, ONNX Runtime and the decoders leave Python free
while they work.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from cellrot_infer.classify import Classifier, gathered
from cellrot_infer.largeimage import LargeImage
from cellrot_infer.overview import Overview, view_factor
from cellrot_infer.reference import Reference, Spread, find_reference
from cellrot_infer.tilecells import Found, look
from cellrot_infer.tiles import (
    Grid,
    Tile,
    check_region,
    inside,
    middle_px,
    moved,
    overlap,
)
from cellrot_infer.types import (
    EVERYTHING,
    PATCH_SIDE_PX,
    RGB,
    Box,
    Cell,
    Frame,
    Predictions,
    Selection,
)

AHEAD = 2  # tiles begun beyond those in work
GOLDEN = (5**0.5 - 1) / 2

Looked = tuple[Found, RGB]  # what `look` gives


class Progress(Protocol):
    """Who is told how far the work is."""

    def expect(self, steps: int) -> None:
        """So many more steps are to be done."""

    def advance(self) -> None:
        """One is done."""


class Quiet:
    """Tells nobody."""

    def expect(self, steps: int) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""


QUIET = Quiet()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How an image is looked through: in `tiles`, which are all judged alike.

    It holds nothing of the file, so that other machines can look at some of them. Cells
    are sought in `region`, in pixels of the level.
    """

    grid: Grid
    region: Box
    tiles: Sequence[Tile]
    reference: Reference

    def look(self, image: LargeImage, classifier: Classifier, tile: Tile) -> Looked:
        """Return what is in `tile` of `image`."""
        factor = view_factor(image)
        return look(image, self.grid, self.reference, classifier, factor, tile)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What was found in a large image, from top to bottom, in pixels of its level 0.

    `overview` is a smaller copy of the image, white where it was not looked at. Of the
    `tiles` that were to be looked at, `seen` were, and `empty` showed no nucleus;
    `faults` says of how many of the others what speaks against their cells.
    """

    cells: tuple[Cell, ...]
    predictions: Predictions
    overview: Frame
    reference: Reference
    tiles: int
    seen: int
    empty: int
    faults: Mapping[str, int]


def scan(
    image: LargeImage,
    classifier: Classifier,
    selection: Selection = EVERYTHING,
    progress: Progress = QUIET,
) -> Scan:
    """Find the cells of `image` and classify them; raise FrameError if it is damaged.

    Every tile is a step of `progress`.
    """
    with ThreadPoolExecutor(classifier.threads) as pool:
        plan = plan_scan(image, selection, pool.map)
        work = partial(plan.look, image, classifier)
        ahead = classifier.threads + AHEAD
        with closing(_in_turn(pool, work, plan.tiles, ahead)) as looks:
            return merge(image, plan, looks, classifier, selection, progress)


def plan_scan(
    image: LargeImage, selection: Selection = EVERYTHING, spread: Spread = map
) -> Plan:
    """Return how to look through `image`; `spread` applies a function to many boxes."""
    grid = Grid.over(image.size_px, image.level_pixel_um)
    region = _region(image, selection)
    tiles = _in_view(grid, region, spread=selection.max_cells is not None)
    return Plan(grid, region, tiles, find_reference(image, grid, spread))


def merge(
    image: LargeImage,
    plan: Plan,
    looks: Iterable[Looked],
    classifier: Classifier,
    selection: Selection = EVERYTHING,
    progress: Progress = QUIET,
) -> Scan:
    """Return what is found in `image`: `looks` are those at the tiles of its `plan`."""
    overview = Overview(image)
    room = sys.maxsize if selection.max_cells is None else selection.max_cells
    founds: list[Found] = []
    progress.expect(len(plan.tiles))
    for tile, (found, view) in zip(plan.tiles, looks, strict=False):
        overview.paste(tile.core, view)
        founds.append(_first(_within(found, plan.region), room))
        room -= len(founds[-1].cells)
        progress.advance()
        if room <= 0:
            break
    progress.expect(len(founds) - len(plan.tiles))
    cells, predictions = _joined(founds, classifier)
    return Scan(
        tuple(moved(cell, 0, 0, image.downsample) for cell in cells),
        predictions,
        overview.frame(),
        plan.reference,
        len(plan.tiles),
        len(founds),
        sum(found.predictions is None for found in founds),
        Counter(fault for found in founds for fault in found.faults),
    )


def _region(image: LargeImage, selection: Selection) -> Box:
    """Return the part of the level that is asked for."""
    width, height = image.size_px
    box, step = selection.region, image.downsample
    if box is None:
        return Box(0, 0, width, height)
    check_region(box, image.raster.sizes_px[0], image.name)
    left, top = round(box.x_px / step), round(box.y_px / step)
    right, bottom = box.x_px + box.width_px, box.y_px + box.height_px
    return Box(left, top, round(right / step) - left, round(bottom / step) - top)


def _in_view(grid: Grid, region: Box, *, spread: bool) -> list[Tile]:
    """Return the tiles with a core in `region`; row after row, or `spread` evenly."""
    tiles = [tile for tile in grid.tiles() if overlap(tile.core, region)]
    if spread:  # multiples of the golden ratio leave no part out for long
        tiles = [tiles[n] for n in np.argsort(np.arange(len(tiles)) * GOLDEN % 1)]
    return tiles


def _in_turn(
    pool: ThreadPoolExecutor,
    work: Callable[[Tile], Looked],
    tiles: Sequence[Tile],
    most: int,
) -> Generator[Looked, None, None]:
    """Yield what is found in each of `tiles`, in their order; `most` are begun."""
    begun: deque[Future[Looked]] = deque()
    try:
        for tile in tiles:
            begun.append(pool.submit(work, tile))
            if len(begun) >= most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for found in begun:
            found.cancel()


def _within(found: Found, region: Box) -> Found:
    """Return the cells whose nucleus has its middle in `region`."""
    cells = enumerate(found.cells)
    return _kept(found, [n for n, cell in cells if inside(region, *middle_px(cell))])


def _first(found: Found, most: int) -> Found:
    return _kept(found, range(min(most, len(found.cells))))


def _kept(found: Found, numbers: Sequence[int]) -> Found:
    """Return the cells of these `numbers` with their predictions."""
    if found.predictions is None or len(numbers) == len(found.cells):
        return found
    cells = [found.cells[n] for n in numbers]
    predictions = gathered([found.predictions], numbers)
    return replace(found, cells=cells, predictions=predictions)


def _joined(
    founds: Sequence[Found], classifier: Classifier
) -> tuple[list[Cell], Predictions]:
    """Return all cells from top to bottom, then left to right, with predictions."""
    cells = [cell for found in founds for cell in found.cells]
    parts = [found.predictions for found in founds if found.predictions is not None]
    if not parts:
        none = np.empty((0, PATCH_SIDE_PX, PATCH_SIDE_PX, 3), np.uint8)
        return [], classifier.classify(none)
    places = [(cell.box.y_px, cell.box.x_px) for cell in cells]
    order = sorted(range(len(cells)), key=places.__getitem__)
    return [cells[n] for n in order], gathered(parts, order)
