"""Small JPEGs of cells and frames, for reports that must stay small."""

import math

import cv2
import numpy as np
from cv2.typing import MatLike

from cellrot_infer.types import RGB

THUMBNAIL_SIDE_PX = 160  # sharp at 80 CSS pixels on a dense screen, and still 4 kB
PREVIEW_SIDE_PX = 960


def thumbnail(patch: RGB, orientation_rad: float | None = None) -> bytes:
    """Return `patch` (S, S, 3) as a small JPEG, turned upright where a pose is known.

    `orientation_rad` counts from x towards -y (counter-clockwise on the screen); the
    cell is turned back by it, and what falls outside of the disc is white.
    """
    side_px = THUMBNAIL_SIDE_PX
    # optics leave no detail that this could alias, and it is ten times as fast as areas
    small = cv2.resize(patch, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    if orientation_rad is not None:
        small = _turn(small, -orientation_rad)
    return _jpeg(small, quality=82, optimize=True)  # a twentieth smaller


def preview(pixels: RGB) -> bytes:
    """Return the frame `pixels` as a JPEG of at most 960 pixels a side."""
    height_px, width_px = pixels.shape[:2]
    scale = min(1.0, PREVIEW_SIDE_PX / max(height_px, width_px))
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    whole = shrunk(pixels, int(1 / scale))  # fast; what is left is less than a half
    return _jpeg(cv2.resize(whole, size), quality=72, optimize=False)


def shrunk(pixels: RGB, times: int) -> RGB:
    """Return `pixels` with the mean of `times` x `times` in the place of each square.

    What is left over at the right and below is dropped; a side has a pixel at least.
    """
    height, width = (max(1, side // times) for side in pixels.shape[:2])
    whole = pixels[: height * times, : width * times]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _turn(image: MatLike, angle_rad: float) -> MatLike:
    """Return the square `image` turned counter-clockwise, white outside its disc."""
    side_px = image.shape[0]
    centre = (side_px - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), math.degrees(angle_rad), 1)
    turned = cv2.warpAffine(image, turn, (side_px, side_px), flags=cv2.INTER_CUBIC)
    along = np.arange(side_px) - centre
    turned[np.hypot(along[:, None], along) > side_px / 2] = 255
    return turned


def _jpeg(image: MatLike, *, quality: int, optimize: bool) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_OPTIMIZE, int(optimize)]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, settings)
    if not done:
        raise ValueError(f"no JPEG can be made of an image of shape {image.shape}")
    return data.tobytes()
