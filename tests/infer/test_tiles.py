"""However an image is cut, its cells are those of one piece."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrot_infer import segment, tiles
from cellrot_infer.largeimage import in_tiles
from cellrot_infer.reference import Reference, find_reference, fits
from cellrot_infer.tilecells import tile_cells
from cellrot_infer.tiles import BLOCK, Grid, inside, moved
from cellrot_infer.types import RGB, Box, Cell, Frame, PixelSize
from tests.infer.stitched import stitched

ONE_PIECE = 10**6  # blocks
sizes_px = st.integers(1, 1000)


def frame_of(pixels: RGB, pixel_size_um: float) -> Frame:
    return Frame("stitched", pixels, PixelSize(pixel_size_um, "option"))


def cells_by(
    core_blocks: int, frame: Frame, reference: Reference | None = None
) -> set[Cell]:
    """Return the cells of `frame`, cut into tiles of so many blocks."""
    image = in_tiles(frame)
    grid = Grid.over(image.size_px, image.level_pixel_um)
    reference = reference or find_reference(image, grid)
    found = [
        moved(cell, tile.box.x_px, tile.box.y_px)
        for tile in grid.tiles(core_blocks)
        for cell in tile_cells(image, grid, reference, tile)[0]
    ]
    assert len(found) == len(set(found)), "a cell was counted twice"
    return set(found)


@settings(max_examples=3, deadline=None)
@given(
    core_blocks=st.integers(1, 3),
    pixel_size_um=st.sampled_from([0.17, 0.1731, 0.25]),
    seed=st.integers(0, 99),
)
def test_tiles_give_the_cells_of_one_piece(
    core_blocks: int, pixel_size_um: float, seed: int
) -> None:
    frame = frame_of(stitched(700, 550, pixel_size_um, seed), pixel_size_um)
    whole = cells_by(ONE_PIECE, frame)

    assert whole
    assert cells_by(core_blocks, frame) == whole


@pytest.mark.slow
def test_a_stitched_frame_of_six_million_pixels_gives_the_cells_of_one_piece() -> None:
    frame = frame_of(stitched(3000, 2000, 0.1), 0.1)
    whole = cells_by(ONE_PIECE, frame)

    assert len(whole) > 30
    assert cells_by(4, frame) == whole


def test_an_image_that_is_one_field_is_judged_as_a_frame_is() -> None:
    pixels = stitched(640, 512, 0.1)  # whole blocks, so that both scales are the same
    frame = frame_of(pixels, 0.1)

    assert fits(frame)
    assert cells_by(2, frame) == set(segment(frame))


def test_without_a_halo_cells_on_a_seam_come_out_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = frame_of(stitched(700, 550), 0.17)
    whole = cells_by(ONE_PIECE, frame)

    monkeypatch.setattr(tiles, "HALO_BLOCKS", 0)

    assert cells_by(1, frame) != whole


@given(sizes_px, sizes_px, st.integers(1, 300), st.integers(1, 4))
def test_every_pixel_is_in_one_core(
    width_px: int, height_px: int, block_px: int, core_blocks: int
) -> None:
    grid = Grid(width_px, height_px, block_px)
    if (width_px // block_px + 1) * (height_px // block_px + 1) > 10_000:
        return
    times = np.zeros((height_px, width_px), int)
    for tile in grid.tiles(core_blocks):
        core, box = tile.core, tile.box
        rows = slice(core.y_px, core.y_px + core.height_px)
        times[rows, core.x_px : core.x_px + core.width_px] += 1
        assert inside(box, core.x_px, core.y_px)

    assert (times == 1).all()


def test_a_point_on_a_seam_is_in_one_core() -> None:
    cores = [tile.core for tile in Grid(300, 200, 50).tiles(2)]

    for x, y in product(range(0, 300, 25), range(0, 200, 25)):
        assert sum(inside(core, x, y) for core in cores) == 1


@given(st.integers(0, 4), st.integers(0, 3), st.sampled_from([61, 128, 151, 256, 391]))
def test_a_part_is_resampled_as_the_whole_is(
    column: int, row: int, block_px: int
) -> None:
    width, height = 5 * block_px + 37, 4 * block_px + 11
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    grid = Grid(width, height, block_px)
    box = grid.box(column, row, 2)
    part = pixels[
        box.y_px : box.y_px + box.height_px, box.x_px : box.x_px + box.width_px
    ]
    rows, columns = grid.window(box)

    whole, alone = grid.resample(pixels)[rows, columns], grid.resample(part)

    assert alone.shape == whole.shape
    # an image that is enlarged takes a little from beyond the edge of a part
    edge = slice(None) if block_px >= BLOCK else slice(2, -2)
    assert (alone[edge, edge] == whole[edge, edge]).all()


def test_what_was_not_scanned_holds_no_cells() -> None:
    pixels = stitched(700, 550)
    gap = Box(200, 100, 300, 250)
    pixels[gap.y_px : gap.y_px + gap.height_px, gap.x_px : gap.x_px + gap.width_px] = 0

    cells = cells_by(2, frame_of(pixels, 0.17))

    assert cells
    inner = Box(gap.x_px + 20, gap.y_px + 20, gap.width_px - 40, gap.height_px - 40)
    assert not [cell for cell in cells if inside(inner, *cell.centre_px)]
    assert all(cell.box.width_px < 200 for cell in cells)
