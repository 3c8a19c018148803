"""The patches of a large image, of which not all fit into the memory."""

from collections.abc import Iterator, Sequence

from cellrot_infer.largeimage import LargeImage
from cellrot_infer.patches import cut_patches
from cellrot_infer.reference import Reference
from cellrot_infer.tiles import moved
from cellrot_infer.types import PATCH_SIDE_PX, RGB, Box, Cell, Frame, PixelSize


class Recut:
    """The patches of `cells`, cut out again one after the other.

    `cells` count in pixels of level 0; a patch has the pixel size of the model,
    `pixel_size_um`. The file of the image must be open.
    """

    def __init__(
        self,
        image: LargeImage,
        cells: Sequence[Cell],
        reference: Reference,
        pixel_size_um: float,
    ) -> None:
        self._image, self._cells, self._reference = image, cells, reference
        self._pixel_size_um = pixel_size_um

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
        pixels = self._reference.filled(self._image.read(around))
        frame = Frame(self._image.name, pixels, PixelSize(um, "option"))
        cells = [moved(cell, -left, -top)]
        glass = self._reference.glass_rgb
        patch: RGB = cut_patches(frame, cells, self._pixel_size_um, glass)[0]
        return patch
