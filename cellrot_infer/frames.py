"""Image files into frames: pixels with their physical scale."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from cellrot_infer.errors import FrameError
from cellrot_infer.images import decode, is_large, read_file, read_image
from cellrot_infer.metadata import USABLE_UM
from cellrot_infer.scale import estimate_pixel_size
from cellrot_infer.types import RGB, Frame, PixelSize

__all__ = ["judge_scales", "read_frame", "read_image"]

Scales = Mapping[tuple[int, ...], PixelSize]  # (height, width) of the images -> scale
Judgement = tuple[tuple[int, ...], PixelSize]
Spread = Callable[
    [Callable[[Path], Judgement | None], Sequence[Path]], Iterable[Judgement | None]
]

SCALE_SAMPLE = 15  # frames that the scale of a slide is judged by
MAX_SCATTER = 0.25  # between the quartiles; more is not one objective
DISAGREEMENT = 0.1  # between a pixel size that was told and the one in the file
DOUBTFUL = 0.2  # relative standard error of an estimate that should be told instead
MODEL_PIXEL_SIZE_UM = 0.1


def read_frame(
    path: Path,
    *,
    pixel_size_um: float | None = None,
    fallback_um: float = MODEL_PIXEL_SIZE_UM,
    scales: Scales | None = None,
) -> Frame:
    """Return the frame in the image file at `path`.

    The pixel size is `pixel_size_um` if told, else the file's own, else judged by the
    red cells (those of the whole slide, where `scales` has them), else `fallback_um`
    with a warning in the frame. Raises FrameError where the file cannot be read, is no
    image, incomplete or too large, or where no cell can be told at its pixel size.
    """
    data = read_file(path)
    pixels, metadata = decode(data, str(path))
    pixel_size, warnings = told_size(metadata.pixel_size_um, pixel_size_um)
    if pixel_size is None:
        pixel_size = (scales or {}).get(pixels.shape[:2])
    if pixel_size is None:
        pixel_size = estimate_pixel_size(pixels)
    if pixel_size is None:
        pixel_size, warnings = unknown_size(fallback_um)
    warnings += doubts(pixel_size)
    check_usable(pixel_size, path)
    if metadata.has_more_pages:
        warnings += ("only the first of the file's images was read",)
    if _is_grey(pixels):
        warnings += ("the image has no colour, and stains are told by colour",)
    digest = hashlib.sha256(data).hexdigest()
    return Frame(path.name, pixels, pixel_size, digest, warnings)


def judge_scales(paths: Sequence[Path], spread: Spread = map) -> Scales:
    """Return the pixel size that some frames of a slide agree on, by image size.

    One camera took them all, and the red cells of one frame tell its scale to a tenth
    at best: the median of many is steadier. Files that cannot be read, or that know
    their own pixel size, have no say. `spread` applies a function to many, as `map`
    does; that of a pool does it faster.
    """
    found: dict[tuple[int, ...], list[PixelSize]] = {}
    sample = paths[:: -(-len(paths) // SCALE_SAMPLE) or 1]
    for shape, size in filter(None, spread(_own_scale, sample)):
        found.setdefault(shape, []).append(size)
    agreed = {shape: agreed_size(sizes) for shape, sizes in found.items()}
    return {shape: scale for shape, scale in agreed.items() if scale is not None}


def _own_scale(path: Path) -> Judgement | None:
    """Return the shape of an image and its pixel size, by its red cells."""
    if is_large(path):
        return None
    try:
        pixels, metadata = decode(read_file(path), str(path))
    except (FrameError, MemoryError):
        return None  # reading it as a frame will report it
    told = metadata.pixel_size_um is not None
    size = None if told else estimate_pixel_size(pixels)
    return None if size is None else (pixels.shape[:2], size)


def agreed_size(sizes: Sequence[PixelSize]) -> PixelSize | None:
    """Return the median with its standard error, 1.25 times that of the mean.

    None where the frames contradict each other: they are of several objectives.
    """
    if len(sizes) == 1:
        return sizes[0]
    sizes_um = [size.um for size in sizes]
    low_um, middle_um, high_um = np.quantile(sizes_um, (0.25, 0.5, 0.75)).tolist()
    if high_um - low_um > MAX_SCATTER * middle_um:
        return None
    deviation = float(np.std(sizes_um, ddof=1))
    spread = 1.25 * deviation / math.sqrt(len(sizes_um)) / middle_um
    return PixelSize(middle_um, "red cells", spread)


def check_usable(size: PixelSize, path: Path) -> None:
    """Raise FrameError where no cell can be told at this pixel size."""
    low_um, high_um = USABLE_UM
    if not low_um <= size.um <= high_um:
        raise FrameError(
            f"{path}: {size.um:.3g} um a pixel (by {size.source}), expected "
            f"{low_um:g} to {high_um:g}; tell the true size with --pixel-size"
        )


def told_size(
    own_um: float | None, told_um: float | None
) -> tuple[PixelSize | None, tuple[str, ...]]:
    """Return the pixel size that was told, else the file's own, and warnings."""
    if told_um is None:
        return (PixelSize(own_um, "metadata") if own_um else None), ()
    if own_um and abs(own_um / told_um - 1) > DISAGREEMENT:
        warning = f"the file says {own_um:.3g} um a pixel, {told_um:.3g} um was told"
        return PixelSize(told_um, "option"), (warning,)
    return PixelSize(told_um, "option"), ()


def unknown_size(fallback_um: float) -> tuple[PixelSize, tuple[str, ...]]:
    """Return the model's pixel size, and a warning that it is only that."""
    warning = (
        f"pixel size unknown, taken for the model's {fallback_um:.3g} um; "
        "areas and cells may be wrong: tell it with --pixel-size"
    )
    return PixelSize(fallback_um, "model"), (warning,)


def doubts(size: PixelSize) -> tuple[str, ...]:
    """Return a warning where few red cells tell the pixel size."""
    if size.spread <= DOUBTFUL:
        return ()
    return (
        f"few red cells tell the pixel size, {size.um:.3g} um give or take "
        f"{size.spread:.0%}; tell it with --pixel-size",
    )


def _is_grey(pixels: RGB) -> bool:
    red, green, blue = cv2.split(pixels)
    return bool((red == green).all() and (green == blue).all())
