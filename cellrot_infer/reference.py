"""What a large image is judged by, the same in all of its tiles.

A frame is calibrated by itself. Tiles of one image are not, since the same cell would
then come out differently in two of them: the light, the noise, the stain, the red cells
and the focus are learnt once, from the whole image at the scale at which cells are
sought, or, where that is too large, from a sample of fields all over it. The field of a
lamp is fitted where the image is one field; in a mosaic the light is taken as even.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellrot_infer import stain
from cellrot_infer.cytoplasm import Calibration, calibrate
from cellrot_infer.largeimage import LargeImage
from cellrot_infer.nuclei import FAINTEST
from cellrot_infer.quality import find_focus
from cellrot_infer.regions import WORKING_PIXEL_UM
from cellrot_infer.segment import smoothed
from cellrot_infer.tiles import BLOCK, Grid
from cellrot_infer.types import RGB, Box, Floats, Frame

WHOLE_BLOCKS = 256  # an image of as many or fewer is calibrated as a whole
FIELD_BLOCKS = 2  # a side of a field of the sample, 51 um
FIELDS = 64
CANDIDATES = 16  # a side; fields that are looked at
GLANCE = 4  # working pixels, 0.8 um, to a pixel when only looked at
LEAST_DYED = 0.05  # share of a field with anything in it
DYED = 0.06  # decades of green
LARGEST_GAP = 0.01  # share of a field that was not scanned

Spread = Callable[[Callable[[Box], RGB], Sequence[Box]], Iterable[RGB]]  # as map


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The light of an image, what is known of its stain, and its focus."""

    glass: stain.Glass
    known: Calibration
    focus: float  # that of a usual field, see `FieldQuality`

    @property
    def glass_rgb(self) -> RGB:
        """The colour of empty glass, (3,)."""
        return np.rint(self.glass.light).astype(np.uint8)

    def filled(self, pixels: RGB) -> RGB:
        """Return `pixels` with glass where nothing was scanned."""
        seen = stain.scanned(pixels)
        if seen.all():
            return pixels
        return np.asarray(np.where(seen[..., None], pixels, self.glass_rgb), np.uint8)

    def density(self, pixels: RGB, at: stain.Places) -> Floats:
        """Return the optical density of `pixels` at the working scale.

        `at` is where the pixels are in the image.
        """
        return smoothed(stain.optical_density(pixels, self.glass, at))


def fits(frame: Frame) -> bool:
    """Return whether the cells of `frame` are sought in one piece."""
    height, width = frame.pixels.shape[:2]
    area = height * width * (frame.pixel_size_um / WORKING_PIXEL_UM) ** 2
    return bool(area <= WHOLE_BLOCKS * BLOCK**2)


def find_reference(image: LargeImage, grid: Grid, spread: Spread = map) -> Reference:
    """Return what `image` is judged by; `spread` applies a function to many boxes."""
    across, down = grid.blocks
    if across * down <= WHOLE_BLOCKS:
        whole = Box(0, 0, grid.width_px, grid.height_px)
        return _learnt([grid.resample(image.read(whole))], even=False)
    boxes = _choose_fields(image, grid, spread)
    fields = spread(lambda box: grid.resample(image.read(box)), boxes)
    return _learnt(list(fields), even=True)


def _learnt(fields: Sequence[RGB], *, even: bool) -> Reference:
    pixels = _mosaic(fields)
    if not even:
        glass = stain.find_glass(pixels)
    else:
        step = max(1, max(pixels.shape[:2]) // stain.MEASURING_SIDE_PX)
        glass = stain.find_glass(pixels[::step, ::step])
        slopes = np.zeros_like(glass.slopes)
        slopes[0] = glass.slopes[0]
        glass = replace(glass, slopes=slopes)
    known = calibrate(smoothed(stain.optical_density(pixels, glass)))
    if np.isinf(known.nuclear_threshold):  # no nucleus in the sample
        known = replace(known, nuclear_threshold=FAINTEST)
    densities = (stain.optical_density(field, glass) for field in fields)
    focus = float(np.median([find_focus(density) for density in densities]))
    return Reference(glass, known, focus)


def _choose_fields(image: LargeImage, grid: Grid, spread: Spread) -> list[Box]:
    """Return fields all over the image that show something, half of them nuclei."""
    boxes = _candidates(grid)
    factor = grid.block_px / BLOCK * GLANCE
    seen = list(spread(lambda box: image.glance(box, factor), boxes))
    usable = [n for n, field in enumerate(seen) if _is_scanned(field)] or range(
        len(seen)
    )
    light = stain.find_glass(_mosaic([seen[n] for n in usable]))
    light = replace(light, slopes=np.zeros_like(light.slopes))
    densities = {n: stain.optical_density(seen[n], light) for n in usable}
    dyed = {n: float((d[..., 1] > DYED).mean()) for n, d in densities.items()}
    busy = [n for n in usable if dyed[n] > LEAST_DYED]
    if len(busy) < FIELDS:
        busy = sorted(usable, key=lambda n: -dyed[n])[:FIELDS]
    nuclear = {
        n: float((stain.nuclear_stain(densities[n]) > FAINTEST).mean()) for n in busy
    }
    by_nuclei = sorted(busy, key=lambda n: -nuclear[n])
    rest = sorted(by_nuclei[FIELDS // 2 :])
    spaced = rest[:: max(1, -(-len(rest) // (FIELDS // 2)))]
    return [boxes[n] for n in sorted(by_nuclei[: FIELDS // 2] + spaced)]


def _candidates(grid: Grid) -> list[Box]:
    """Return fields at even distances, all of the same size where that is possible."""
    columns, rows = (
        sorted(
            {
                max(n - FIELD_BLOCKS, 0) * k // (CANDIDATES - 1)
                for k in range(CANDIDATES)
            }
        )
        for n in (
            side_px // grid.block_px for side_px in (grid.width_px, grid.height_px)
        )
    )
    return [grid.box(x, y, FIELD_BLOCKS) for y in rows for x in columns]


def _is_scanned(field: RGB) -> bool:
    """Return whether the camera saw the field: what it sees is never all the same."""
    return bool(stain.scanned(field).mean() > 1 - LARGEST_GAP and np.ptp(field) > 0)


def _mosaic(fields: Sequence[RGB]) -> RGB:
    """Return fields of the same size side by side, as many as make a full rectangle."""
    full = max(field.size for field in fields)
    equal = [field for field in fields if field.size == full]
    across = int(np.sqrt(len(equal)))
    down = len(equal) // across
    rows = [np.hstack(equal[row * across : (row + 1) * across]) for row in range(down)]
    return np.vstack(rows)
