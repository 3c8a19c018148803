"""What the header of an image file says, and whether the file is all there.

OpenCV decodes a file whose end is missing without a word, and takes memory for as many
pixels as a header claims. So the structure of the file is checked before a decoder
sees it. Sources: PNG (W3C), JFIF and ITU-T T.81, EXIF 2.3, WebP (RFC 9649), BMP.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from cellrot_infer.errors import FrameError
from cellrot_infer.tiff import Content, directories

CREDIBLE_UM = (0.02, 2.0)  # what light microscopes give; 72 dpi would be 353 um
USABLE_UM = (0.02, 0.7)  # a red cell of ten pixels; below that, cells have no features
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_EXIF_START = b"Exif\x00\x00"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The size of the stored image, how it is turned, and its scale if it says one.

    `orientation` is EXIF's, 1 (upright) to 8; for TIFF it is 1, since the decoder turns
    those itself. `pixel_size_um` is None unless credible for a microscope.
    """

    kind: str
    width_px: int
    height_px: int
    orientation: int = 1
    pixel_size_um: float | None = None
    has_more_pages: bool = False


def read_metadata(data: bytes) -> Metadata:
    """Return what the header of the image file `data` says.

    Raises FrameError with the reason (without a file name) where `data` is no PNG,
    JPEG, TIFF, WebP or BMP, or where a part of it is missing or damaged.
    """
    if not data:
        raise FrameError("the file is empty")
    read = next((read for start, read in _READERS if start.match(data)), None)
    if read is None:
        raise FrameError("no PNG, JPEG, TIFF, WebP or BMP image")
    try:
        return read(data)
    except struct.error:
        raise FrameError("cut off: the end of the file is missing") from None


def tiff_metadata(data: Content) -> Metadata:
    """Return what the tags of the TIFF file `data` say; see `read_metadata`."""
    try:
        return _tiff(data)
    except struct.error:
        raise FrameError("cut off: the end of the file is missing") from None


def _png(data: bytes) -> Metadata:
    chunks: dict[bytes, bytes] = {}
    for name, content in _png_chunks(data):
        chunks.setdefault(name, content)  # decoders go by the first
    width, height = struct.unpack_from(">II", chunks.get(b"IHDR", b""))
    size_um = None
    if b"pHYs" in chunks:
        x_per_metre, y_per_metre, unit = struct.unpack_from(">IIB", chunks[b"pHYs"])
        size_um = _square(x_per_metre, y_per_metre, 1e6) if unit == 1 else None
    turned, exif_um = _exif(chunks.get(b"eXIf", b""))
    return Metadata("PNG", width, height, turned, size_um or exif_um)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk; raise FrameError on the first bad one."""
    view, at, name = memoryview(data), 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (expected,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[at + 4 : end]) != expected:
            raise FrameError("damaged: a checksum does not match its content")
        yield name, b"" if name == b"IDAT" else data[at + 8 : end]
        at = end + 4


def _jpeg(data: bytes) -> Metadata:
    size_px, size_um, exif = (0, 0), None, b""
    for marker, content in _jpeg_segments(data):
        if marker in _FRAME_MARKERS and not any(size_px):
            height, width = struct.unpack_from(">HH", content, 1)
            size_px = width, height
        elif marker == 0xE0 and content.startswith(b"JFIF\x00"):
            unit, x_density, y_density = struct.unpack_from(">BHH", content, 7)
            unit_um = {1: 25_400.0, 2: 10_000.0}.get(unit)
            size_um = _square(x_density, y_density, unit_um) if unit_um else None
        elif marker == 0xE1 and content.startswith(_EXIF_START):
            exif = content.removeprefix(_EXIF_START)
    turned, exif_um = _exif(exif)
    return Metadata("JPEG", *size_px, turned, size_um or exif_um)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment up to the end-of-image marker."""
    at = 2
    while True:
        found = _AFTER_SCAN.search(data, at)
        if found is None:
            raise FrameError("cut off: the end of the image is missing")
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, data[at + 2 : at + length]
        at += length


def _webp(data: bytes) -> Metadata:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise FrameError("cut off: the end of the file is missing")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length + 8:
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    turned, size_um = _exif(chunks.get(b"EXIF", b"").removeprefix(_EXIF_START))
    return Metadata("WebP", *_webp_size(chunks), turned, size_um)


def _webp_size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    if b"VP8X" in chunks:
        low_x, high_x, low_y, high_y = struct.unpack_from("<HBHB", chunks[b"VP8X"], 4)
        return 1 + low_x + (high_x << 16), 1 + low_y + (high_y << 16)
    if b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", chunks.get(b"VP8 ", b""), 6)
    return width & 0x3FFF, height & 0x3FFF


def _bmp(data: bytes) -> Metadata:
    start, header, width, height = struct.unpack_from("<IIii", data, 10)
    if header < 40:
        raise FrameError("a BMP of OS/2; save it as PNG")
    bits, packing, _, x_per_metre, y_per_metre = struct.unpack_from("<HIIii", data, 28)
    row_bytes = (width * bits + 31) // 32 * 4
    if packing in (0, 3) and start + row_bytes * abs(height) > len(data):
        raise FrameError("cut off: the end of the image is missing")
    size_um = _square(x_per_metre, y_per_metre, 1e6)
    return Metadata("BMP", width, abs(height), pixel_size_um=size_um)


def _tiff(data: Content) -> Metadata:
    pages = list(islice(directories(data), 2))
    if not pages:
        raise FrameError("a TIFF file without an image")
    first = pages[0]
    if first.data_end > len(data):
        raise FrameError("cut off: a part of the image is missing")
    return Metadata(
        "TIFF",
        *first.size_px,
        pixel_size_um=credible(first.pixel_size_um),
        has_more_pages=any(not page.is_preview for page in pages[1:]),
    )


def _exif(block: bytes) -> tuple[int, float | None]:
    """Return orientation and pixel size of an EXIF block; what is unreadable is not."""
    try:
        tags = next(directories(block))
    except (struct.error, FrameError, StopIteration):
        return 1, None  # the pixels are all there; the camera's notes are optional
    turned = tags.orientation if 1 <= tags.orientation <= 8 else 1
    return turned, credible(tags.pixel_size_um)


def _square(x_density: float, y_density: float, unit_um: float) -> float | None:
    """Return the size of a pixel, None unless it is credible and as wide as high."""
    if min(x_density, y_density) <= 0:
        return None
    if abs(x_density - y_density) > 0.01 * x_density:
        return None
    return credible(unit_um / x_density)


def credible(size_um: float | None) -> float | None:
    """Return `size_um`, None unless light microscopes have such pixels."""
    low_um, high_um = CREDIBLE_UM
    return size_um if size_um is not None and low_um <= size_um <= high_um else None


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Metadata]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), _tiff),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM"), _bmp),
)
