"""Stitched images made of the sample frames, of any size and pixel size."""

from functools import cache

import cv2
import numpy as np
from PIL import Image

from cellrot_infer.types import RGB
from tests.infer.images import FRAMES

FRAME_UM = 0.07
GLASS = 226


@cache
def frames(pixel_size_um: float) -> tuple[RGB, ...]:
    """Return frames of one laboratory at this pixel size."""
    factor = FRAME_UM / pixel_size_um
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    paths = sorted((FRAMES / "bccd").glob("*.jpg"))
    opened = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    return tuple(
        np.asarray(cv2.resize(frame, None, fx=factor, fy=factor, interpolation=how))
        for frame in opened
    )


def stitched(
    width_px: int, height_px: int, pixel_size_um: float = 0.17, seed: int = 0
) -> RGB:
    """Return frames side by side, chosen and mirrored at random, cut at the edges."""
    rng = np.random.default_rng(seed)
    parts = frames(pixel_size_um)
    height, width = parts[0].shape[:2]
    down, across = -(-height_px // height) + 1, -(-width_px // width) + 1
    rows = [
        np.hstack(
            [_mirrored(parts[n], rng) for n in rng.integers(len(parts), size=across)]
        )
        for _ in range(down)
    ]
    top, left = rng.integers(height), rng.integers(width)
    whole = np.vstack(rows)[top : top + height_px, left : left + width_px]
    return np.ascontiguousarray(whole)


def _mirrored(frame: RGB, rng: np.random.Generator) -> RGB:
    return frame[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
