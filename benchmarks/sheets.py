"""Contact sheets of the worst cases, with outlines drawn."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import Judged, Outlined
from cellrot_infer.files import write_bytes
from cellrot_infer.types import RGB, Box, Cell

WORST = 20
COLUMNS = 5
TILE_PX = 200
AROUND = 2.2  # side of the view, in sides of the box
CELL, NUCLEUS = (0, 160, 0), (200, 0, 200)  # RGB
TRUE, MISSED, EXTRA = (230, 200, 0), (0, 60, 255), (230, 0, 0)

Colour = tuple[int, int, int]
Corner = tuple[int, int]  # x, y of the view in the frame


def detection_sheet(judged: Sequence[Judged], path: Path) -> None:
    """Draw missed cells (blue), extra ones (red), then the cells that agree least.

    What was found is outlined in green, its nucleus in purple, true boxes are yellow.
    """
    views = sorted(
        (view for one in judged for view in _views(one)), key=lambda view: view[0]
    )
    _write([_view(*view[1:]) for view in views[:WORST]], path)


def mask_sheet(outlined: Sequence[Outlined], path: Path) -> None:
    """Draw the images with the lowest Dice; true edges are yellow."""
    worst = sorted(outlined, key=lambda one: one.cell_dice + one.nucleus_dice)[:WORST]
    tiles = []
    for one in worst:
        tile, scale = _enlarged(one.masked.frame.pixels)
        for mask in (one.masked.cell, one.masked.nucleus):
            contours, _ = cv2.findContours(
                mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            for contour in contours:
                _line(tile, np.asarray(contour[:, 0], np.int32), (0, 0), scale, TRUE)
        if one.found:
            _draw(tile, [one.found], (0, 0), scale)
        tiles.append(_titled(tile, f"{one.cell_dice:.3f} {one.nucleus_dice:.3f}"))
    _write(tiles, path)


def _views(one: Judged) -> Iterator[tuple[float, Judged, Box, Colour]]:
    """Yield how bad, where, and in which colour."""
    for number, box in enumerate(one.labelled.white_cells):
        if number not in one.matched.values():
            yield -2.0, one, box, MISSED
    for number, cell in enumerate(one.cells):
        if number not in one.matched:
            yield -1.0, one, cell.box, EXTRA
        else:
            yield one.agreement(number), one, cell.box, CELL


def _view(one: Judged, box: Box, colour: Colour) -> RGB:
    pixels = one.labelled.frame.pixels
    side = int(AROUND * max(box.width_px, box.height_px, 40))
    x = box.x_px + box.width_px // 2 - side // 2
    y = box.y_px + box.height_px // 2 - side // 2
    x, y = (
        min(max(at, 0), max(length - side, 0))
        for at, length in zip((x, y), pixels.shape[1::-1], strict=True)
    )
    crop = pixels[y : y + side, x : x + side]
    tile, scale = _enlarged(crop)
    for true in one.labelled.white_cells:
        _line(tile, np.array(true.corners), (x, y), scale, TRUE)
    _draw(tile, one.cells, (x, y), scale)
    _line(tile, np.array(box.corners), (x, y), scale, colour)
    return _titled(tile, one.labelled.frame.name.rsplit(".", 1)[0])


def _enlarged(pixels: RGB) -> tuple[RGB, float]:
    """Return the view on a tile, and how much it was enlarged."""
    scale = TILE_PX / max(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return tile, scale


def _draw(tile: RGB, cells: Sequence[Cell], corner: Corner, scale: float) -> None:
    for cell in cells:
        _line(tile, np.array(cell.outline), corner, scale, CELL)
        for lobe in cell.nucleus:
            _line(tile, np.array(lobe), corner, scale, NUCLEUS)


def _line(
    tile: RGB, points: NDArray[np.integer], corner: Corner, scale: float, colour: Colour
) -> None:
    """Draw a closed line through `points` (N, 2) of the frame."""
    moved = np.rint((points - corner) * scale).astype(np.int32)
    cv2.polylines(tile, [moved], True, colour, 1)


def _titled(tile: RGB, text: str) -> RGB:
    cv2.putText(tile, text, (3, TILE_PX - 5), 0, 0.35, (255, 255, 255), 2)
    cv2.putText(tile, text, (3, TILE_PX - 5), 0, 0.35, (0, 0, 0), 1)
    return tile


def _write(tiles: list[RGB], path: Path) -> None:
    """Write the tiles as one picture."""
    blank = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    tiles = tiles + [blank] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[at : at + COLUMNS]) for at in range(0, len(tiles), COLUMNS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    _, image = cv2.imencode(path.suffix, picture)
    write_bytes(path, image.tobytes())
