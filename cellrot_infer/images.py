"""Image files into pixels: what the camera saw, upright, 8 bits a channel.

Files are decoded from their bytes, since OpenCV's own file reader fails on letters such
as `ä` in a path on Windows.
"""

import hashlib
import mmap
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.utils import logging
from numpy.typing import NDArray

from cellrot_infer.errors import FrameError
from cellrot_infer.metadata import Metadata, read_metadata, tiff_metadata
from cellrot_infer.types import RGB

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
# Aperio, Hamamatsu, MIRAX, Leica, Trestle, Ventana, DICOM
SLIDE_SUFFIXES = frozenset(
    (".svs", ".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".svslide", ".bif", ".dcm")
)
MAX_PIXELS = 200_000_000  # 600 MB as RGB; larger ones must be of a kind read in parts
IN_PARTS_PX = 50_000_000  # a TIFF file of more is read in parts where tifffile is there
MAX_FILE_BYTES = 2**31
TIFF_STARTS = (b"II*\x00", b"II+\x00", b"MM\x00*", b"MM\x00+")
# Brightfield glass is nearly white, so the brightest pixel tells the camera's depth.
CAMERA_BITS = (8, 10, 12, 14, 16)
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}


def read_image(data: bytes, name: str) -> RGB:
    """Return the image in the file content `data`, upright, 8 bits a channel.

    Raises FrameError, which names the image as `name`.
    """
    return decode(data, name)[0]


def read_file(path: Path) -> bytes:
    """Return the content of `path`; raise FrameError unless it is a readable file."""
    size = check_readable(path)
    if size > MAX_FILE_BYTES:
        raise FrameError(f"{path}: {size} bytes are too many for a frame")
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def check_readable(path: Path) -> int:
    """Return the bytes of the file; raise FrameError unless it is an ordinary one."""
    try:
        status = path.stat()
    except FileNotFoundError:
        reason = "a broken link" if path.is_symlink() else "no such file"
        raise FrameError(f"{path}: {reason}") from None
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(status.st_mode):
        raise FrameError(f"{path}: a folder, expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise FrameError(f"{path}: no ordinary file")
    return status.st_size


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the content of `path`, however large; raise FrameError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def is_large(path: Path) -> bool:
    """Return whether the image at `path` is to be read in parts.

    What cannot be read at all is not: reading it as a frame says why.
    """
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return True
    try:
        metadata = tiff_header(path) if path.is_file() else None
    except FrameError:
        return False
    if metadata is None:
        return False
    most = IN_PARTS_PX if find_spec("tifffile") else MAX_PIXELS
    return metadata.width_px * metadata.height_px > most


def tiff_header(path: Path) -> Metadata | None:
    """Return what the tags of a TIFF file say, None for any other file.

    The file is not read as a whole. Raises FrameError where it is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) not in TIFF_STARTS:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return tiff_metadata(data)
    except OSError:
        return None
    except FrameError as error:
        raise FrameError(f"{path}: {error}") from None


def decode(data: bytes, name: str) -> tuple[RGB, Metadata]:
    """Return the image in `data`, as `read_image` does, and its metadata."""
    try:
        metadata = read_metadata(data)
        _check_size(metadata)
        stored = _decode_stored(data)
        return _upright(_rgb(_bytes(stored), metadata), metadata.orientation), metadata
    except FrameError as error:
        raise FrameError(f"{name}: {error}") from None


def _check_size(metadata: Metadata) -> None:
    width, height = metadata.width_px, metadata.height_px
    if width <= 0 or height <= 0:
        raise FrameError(f"damaged: its size is {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise FrameError(
            f"{width} x {height} pixels are more than the "
            f"{MAX_PIXELS // 10**6} million that are read at once; save it as a tiled "
            "TIFF"
        )


def _decode_stored(data: bytes) -> NDArray[Any]:
    """Return the pixels as the file stores them, before any turn, blue first."""
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # the reason is told by us, once
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    finally:
        logging.setLogLevel(level)
    if stored is None:
        raise FrameError("damaged, or of a kind that cannot be decoded; save it as PNG")
    return np.asarray(stored)


def _bytes(stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return `stored` with 8 bits a sample."""
    if stored.dtype == np.uint8:
        return stored
    if stored.dtype != np.uint16:
        raise FrameError(f"samples are {stored.dtype}; save it with 8 or 16 bits")
    return eight_bits(stored, camera_bits(int(stored.max())))


def camera_bits(brightest: int) -> int:
    """Return how many bits the camera gave, judged by the `brightest` sample."""
    return next(bits for bits in CAMERA_BITS if brightest < 2**bits)


def eight_bits(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return `samples` of so many bits with eight."""
    if samples.dtype == np.uint8:
        return samples
    scaled = cv2.convertScaleAbs(samples, alpha=255 / (2**bits - 1))
    return np.asarray(scaled, np.uint8).reshape(samples.shape)


def _rgb(stored: NDArray[np.uint8], metadata: Metadata) -> RGB:
    """Return RGB for grey, BGR or BGRA; what is transparent shows white glass."""
    channels = 1 if stored.ndim == 2 else stored.shape[2]
    if channels not in _TO_RGB:
        raise FrameError(f"{channels} channels, expected grey, RGB or RGBA")
    rgb = np.asarray(cv2.cvtColor(stored, _TO_RGB[channels]), np.uint8)
    if channels < 4 or stored[..., 3].min() == 255:
        return rgb
    alpha = stored[..., 3:].astype(np.uint16)
    # OpenCV gives TIFF premultiplied by its alpha, the others not
    weighted = rgb if metadata.kind == "TIFF" else (rgb * alpha + 127) // 255
    return np.asarray(np.minimum(weighted + (255 - alpha), 255), np.uint8)


def _upright(image: RGB, orientation: int) -> RGB:
    """Return `image` turned as EXIF's `orientation` asks."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
