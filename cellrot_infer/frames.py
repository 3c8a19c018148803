"""Image files into frames: pixels with their physical scale."""

import hashlib
from pathlib import Path

import cv2

from cellrot_infer.errors import FrameError
from cellrot_infer.images import decode, read_file, read_image
from cellrot_infer.metadata import USABLE_UM, Metadata
from cellrot_infer.scale import estimate_pixel_size
from cellrot_infer.types import RGB, Frame, PixelSize

__all__ = ["read_frame", "read_image"]

DISAGREEMENT = 0.1  # between a pixel size that was told and the one in the file
MODEL_PIXEL_SIZE_UM = 0.1


def read_frame(
    path: Path,
    *,
    pixel_size_um: float | None = None,
    fallback_um: float = MODEL_PIXEL_SIZE_UM,
) -> Frame:
    """Return the frame in the image file at `path`.

    The pixel size is `pixel_size_um` if told, else the file's own, else judged by the
    red cells, else `fallback_um` with a warning in the frame. Raises FrameError where
    the file cannot be read, is no image, incomplete or too large, or where no cell can
    be told at its pixel size.
    """
    data = read_file(path)
    pixels, metadata = decode(data, str(path))
    pixel_size, warnings = _pixel_size(pixels, metadata, pixel_size_um, fallback_um)
    _check_usable(pixel_size, path)
    if metadata.has_more_pages:
        warnings += ("only the first of the file's images was read",)
    if _is_grey(pixels):
        warnings += ("the image has no colour, and stains are told by colour",)
    digest = hashlib.sha256(data).hexdigest()
    return Frame(path.name, pixels, pixel_size, digest, warnings)


def _check_usable(size: PixelSize, path: Path) -> None:
    low_um, high_um = USABLE_UM
    if not low_um <= size.um <= high_um:
        raise FrameError(
            f"{path}: {size.um:.3g} um a pixel (by {size.source}), expected "
            f"{low_um:g} to {high_um:g}; tell the true size with --pixel-size"
        )


def _pixel_size(
    pixels: RGB, metadata: Metadata, told_um: float | None, fallback_um: float
) -> tuple[PixelSize, tuple[str, ...]]:
    own_um = metadata.pixel_size_um
    if told_um is not None:
        if own_um and abs(own_um / told_um - 1) > DISAGREEMENT:
            return PixelSize(told_um, "option"), (
                f"the file says {own_um:.3g} um a pixel, {told_um:.3g} um was told",
            )
        return PixelSize(told_um, "option"), ()
    if own_um is not None:
        return PixelSize(own_um, "metadata"), ()
    estimate = estimate_pixel_size(pixels)
    if estimate is not None:
        return estimate, ()
    return PixelSize(fallback_um, "model"), (
        f"pixel size unknown, taken for the model's {fallback_um:.3g} um; "
        "areas and cells may be wrong: tell it with --pixel-size",
    )


def _is_grey(pixels: RGB) -> bool:
    red, green, blue = cv2.split(pixels)
    return bool((red == green).all() and (green == blue).all())
