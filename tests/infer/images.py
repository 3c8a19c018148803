"""The same picture in every form that cameras and programs save it in."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from cellrot_infer.types import RGB

SAMPLES = Path(__file__).parent.parent / "data" / "patches"
FRAMES = SAMPLES.parent / "frames"
FIELD = FRAMES / "pbc_fields" / "BA_10387.jpg"


def field(width_px: int = 90, height_px: int = 60) -> RGB:
    """Return a real field, scaled to a small size that is not square."""
    with Image.open(FIELD) as image:
        return np.asarray(image.convert("RGB").resize((width_px, height_px)))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return `image` as the content of a file of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:  # noqa: ANN401
    """Return `pixels` as the content of a TIFF file."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png16(pixels: RGB) -> bytes:
    """Return `pixels` as a PNG with 16 bits a sample; 255 becomes 65 535."""
    deep = pixels[..., ::-1].astype(np.uint16) * 257
    return bytes(cv2.imencode(".png", deep)[1])


EVERY_KIND = {
    "PNG": saved(Image.fromarray(field()), "PNG"),
    "JPEG": saved(Image.fromarray(field()), "JPEG", quality=90),
    "progressive JPEG": saved(Image.fromarray(field()), "JPEG", progressive=True),
    "lossy WebP": saved(Image.fromarray(field()), "WEBP"),
    "lossless WebP": saved(Image.fromarray(field()), "WEBP", lossless=True),
    "BMP": saved(Image.fromarray(field()), "BMP"),
    "TIFF": tiff(field(), photometric="rgb"),
    "packed TIFF": tiff(field(), photometric="rgb", compression="zlib"),
    "tiled TIFF": tiff(field(), photometric="rgb", tile=(32, 32)),
    "big-endian TIFF": tiff(field(), photometric="rgb", byteorder=">"),
    "BigTIFF": tiff(field(), photometric="rgb", bigtiff=True),
}
