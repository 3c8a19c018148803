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
    if orientation_rad is None:
        size = THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX
        # optics leave no detail that this could alias, and areas take ten times as long
        small = cv2.resize(patch, size, interpolation=cv2.INTER_LINEAR)
    else:
        small = _turned(patch, -orientation_rad)
    return _jpeg(small, quality=80)


def preview(pixels: RGB) -> bytes:
    """Return the frame `pixels` as a JPEG of at most 960 pixels a side."""
    height_px, width_px = pixels.shape[:2]
    scale = min(1.0, PREVIEW_SIDE_PX / max(height_px, width_px))
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    whole = shrunk(pixels, int(1 / scale))  # fast; what is left is less than a half
    return _jpeg(cv2.resize(whole, size), quality=72)


def shrunk(pixels: RGB, times: int) -> RGB:
    """Return `pixels` with the mean of `times` x `times` in the place of each square.

    What is left over at the right and below is dropped; a side has a pixel at least.
    """
    height, width = (max(1, side // times) for side in pixels.shape[:2])
    whole = pixels[: height * times, : width * times]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _turned(patch: RGB, angle_rad: float) -> MatLike:
    """Return `patch` small and turned counter-clockwise, white outside its disc."""
    scale = THUMBNAIL_SIDE_PX / patch.shape[0]
    centre = (patch.shape[0] - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), math.degrees(angle_rad), scale)
    turn[:, 2] += (THUMBNAIL_SIDE_PX - 1) / 2 - centre
    four = cv2.cvtColor(patch, cv2.COLOR_RGB2RGBA)  # turned in half the time of three
    turned = cv2.warpAffine(four, turn, (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX))
    return cv2.bitwise_or(cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB), _WHITE_OUTSIDE)


def _white_outside(side_px: int) -> RGB:
    """Return a square that is black in its disc and white around it."""
    along = np.arange(side_px) - (side_px - 1) / 2
    outside = np.hypot(along[:, None], along) > side_px / 2
    return np.repeat(np.where(outside, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


_WHITE_OUTSIDE = _white_outside(THUMBNAIL_SIDE_PX)


def _jpeg(image: MatLike, *, quality: int) -> bytes:
    # its own Huffman tables would make it a twentieth smaller, in twice the time
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"no JPEG can be made of an image of shape {image.shape}")
    return data.tobytes()
