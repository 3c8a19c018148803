"""Parts of TIFF files, read through tifffile: tiled or in strips, with levels or not.

Only the tiles that a part touches are decoded. Some that were read last are kept, since
neighbouring parts need them again.
"""

import lzma
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrot_infer.errors import FrameError
from cellrot_infer.images import camera_bits, eight_bits
from cellrot_infer.raster import MISSING_EXTRA
from cellrot_infer.types import RGB, Box

KEPT_BYTES = 64_000_000  # of decoded tiles
KEPT_STRIP_BYTES = 400_000_000  # strips span the image, and a row of parts needs them
LARGEST_SEGMENT_PX = 64_000_000  # of a tile or strip, which is decoded as a whole
READABLE_AXES = ("YXS", "SYX", "YX", "CYX")
DEPTH_SAMPLES = 8  # a side; so many parts tell how many bits the camera gave
DEPTH_SIDE_PX = 256
_PALETTE, _MIN_IS_WHITE, _ORIENTATION = 3, 0, 274
_DECODING_ERRORS = (
    RuntimeError,  # of imagecodecs
    ValueError,  # of tifffile
    TypeError,
    IndexError,
    OSError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)

Samples = NDArray[np.uint8] | NDArray[np.uint16]
File = Any  # of tifffile, which is an extra
Series = Any
Page = Any


class TiffRaster:
    """The first image of a TIFF file and its smaller copies, as a Raster.

    `pixel_size_um` is passed through. Raises FrameError where `path` holds no image of
    8 or 16 bits in grey or colour that can be read in parts, or where tifffile is
    missing, which the extra `slides` brings.
    """

    def __init__(self, path: Path, pixel_size_um: float | None = None) -> None:
        self.pixel_size_um = pixel_size_um
        self._path = path
        self._tiff, series = _open(path)
        try:
            self._levels = [_checked_pages(level, path) for level in series.levels]
            self.sizes_px = [_size_px(pages[0]) for pages in self._levels]
            self._kept = _Kept(max(_kept_bytes(pages[0]) for pages in self._levels))
            self._reading = threading.Lock()
            self._bits = 8
            if self._levels[0][0].dtype == np.uint16:
                self._bits = self._camera_bits()
        except FrameError:
            self.close()
            raise

    def read(self, box: Box, level: int = 0) -> RGB:
        """Return the pixels in `box` of `level`; what the file leaves out is black."""
        samples = self._samples(box, level)
        return _rgb(eight_bits(samples, self._bits))

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()

    def _camera_bits(self) -> int:
        """Return how many of 16 bits are used, judged by parts from all over."""
        width, height = self.sizes_px[0]
        side = min(DEPTH_SIDE_PX, width, height)
        places = product(*(_spread(length - side) for length in (width, height)))
        brightest = max(
            self._samples(Box(x, y, side, side), 0).max() for x, y in places
        )
        return camera_bits(int(brightest))

    def _samples(self, box: Box, level: int) -> Samples:
        """Return the samples in `box`, (H, W, S), as they are stored."""
        pages = self._levels[level]
        count = len(pages) if len(pages) > 1 else pages[0].samplesperpixel
        part = np.zeros((box.height_px, box.width_px, count), pages[0].dtype)
        try:
            for number, page in enumerate(pages):
                plane = part[..., number : number + 1] if len(pages) > 1 else part
                if page.is_memmappable:
                    plane[:] = _mapped(page, self._path, box)
                else:
                    self._fill(plane, box, (level, number))
        except _DECODING_ERRORS as error:
            place = f"x {box.x_px}, y {box.y_px} of level {level}"
            raise FrameError(
                f"{self._path}: damaged near {place} ({error!s:.80})"
            ) from None
        if pages[0].photometric == _MIN_IS_WHITE:
            part = np.iinfo(part.dtype).max - part
        return part

    def _fill(self, plane: Samples, box: Box, page_key: tuple[int, int]) -> None:
        """Put what the segments of a page hold of `box` into `plane`."""
        page = self._levels[page_key[0]][page_key[1]]
        for index in _segments(page, box):
            key, decode = (*page_key, index), partial(self._decoded, page, index)
            segment, (top, left), channel = self._kept.get(key, decode)
            if segment is None:
                continue
            rows, own_rows = _overlap(top, segment.shape[0], box.y_px, box.height_px)
            columns, own_columns = _overlap(
                left, segment.shape[1], box.x_px, box.width_px
            )
            plane[rows, columns, channel] = segment[own_rows, own_columns]

    def _decoded(self, page: Page, index: int) -> "_Segment":
        with self._reading:
            handle = self._tiff.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index]) or None
        array, place, _ = page.decode(
            data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        plane, _, top, left, _ = place
        separate = page.axes == "SYX"
        channel = slice(plane, plane + 1) if separate else slice(None)
        return (None if array is None else array[0]), (top, left), channel


_Segment = tuple[Samples | None, tuple[int, int], slice]
_Key = tuple[int, int, int]  # level, page, segment


class _Kept:
    """What was decoded last, as much as fits into `room` bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[_Key, _Segment] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _Key, decode: Callable[[], _Segment]) -> _Segment:
        """Return the segment `key`; two threads may happen to decode the same one."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        segment = decode()
        size = _bytes_of(segment)
        with self._lock:
            if key not in self._held:
                self._held[key] = segment
                self._room -= size
            while self._room < 0 and len(self._held) > 1:
                self._room += _bytes_of(self._held.popitem(last=False)[1])
        return segment


def _bytes_of(segment: _Segment) -> int:
    return 0 if segment[0] is None else segment[0].nbytes


def _open(path: Path) -> tuple[File, Series]:
    """Return the file and its first series of levels."""
    try:
        import tifffile
    except ModuleNotFoundError:
        raise FrameError(f"{path}: {MISSING_EXTRA}") from None
    try:
        tiff = tifffile.TiffFile(path)
        return tiff, tiff.series[0]
    except (*_DECODING_ERRORS, KeyError) as error:
        raise FrameError(f"{path}: a damaged TIFF file ({error!s:.80})") from None


def _checked_pages(level: Series, path: Path) -> list[Page]:
    """Return the pages of a `level`; raise FrameError unless they can be read."""
    page = level.pages[0]
    channels = len(level.pages) if level.axes == "CYX" else page.samplesperpixel
    if level.axes not in READABLE_AXES or channels not in (1, 3, 4):
        found = f"axes {level.axes} of {'x'.join(map(str, level.shape))}"
        raise FrameError(f"{path}: {found}; expected one image in grey or colour")
    if (turned := page.tags.valueof(_ORIENTATION, 1)) != 1:
        raise FrameError(
            f"{path}: stored turned (orientation {turned}); save it upright"
        )
    if page.dtype not in (np.uint8, np.uint16) or page.photometric == _PALETTE:
        raise FrameError(
            f"{path}: its samples are {page.dtype} (photometric {page.photometric}), "
            "expected grey or RGB of 8 or 16 bits"
        )
    if not page.is_memmappable and prod(page.chunks[:2]) > LARGEST_SEGMENT_PX:
        height, width = page.chunks[:2]
        raise FrameError(
            f"{path}: compressed in pieces of {width} x {height} pixels, too large for "
            "the memory; save it tiled"
        )
    return list(level.pages)


def _rgb(samples: NDArray[np.uint8]) -> RGB:
    """Return RGB for (H, W, 1 or 3 or 4); what is transparent is black."""
    channels = samples.shape[2]
    if channels == 1:
        return np.repeat(samples, 3, axis=2)
    if channels == 4:
        return samples[..., :3] * (samples[..., 3:] > 0)
    return samples


def _size_px(page: Page) -> tuple[int, int]:
    return int(page.imagewidth), int(page.imagelength)


def _kept_bytes(page: Page) -> int:
    return KEPT_BYTES if page.is_tiled else KEPT_STRIP_BYTES


def _segments(page: Page, box: Box) -> Iterator[int]:
    """Yield the numbers of the segments of `page` that `box` touches, all planes."""
    height, width = page.chunks[:2]
    down = -(-page.imagelength // height)
    across = -(-page.imagewidth // width)
    planes = page.samplesperpixel if page.axes == "SYX" else 1
    rows = range(box.y_px // height, -(-(box.y_px + box.height_px) // height))
    columns = range(box.x_px // width, -(-(box.x_px + box.width_px) // width))
    for plane, row, column in product(range(planes), rows, columns):
        yield (plane * down + row) * across + column


def _overlap(start: int, length: int, begin: int, size: int) -> tuple[slice, slice]:
    """Return where [start, start + length) lies in [begin, begin + size), both ways."""
    first, last = max(start, begin), min(start + length, begin + size)
    return slice(first - begin, last - begin), slice(first - start, last - start)


def _mapped(page: Page, path: Path, box: Box) -> Samples:
    """Return the samples in `box`, (H, W, S), of a page that is not compressed."""
    kind = np.dtype(page.parent.byteorder + page.dtype.char)
    whole = np.memmap(path, kind, "r", page.dataoffsets[0], page.shape)
    rows = slice(box.y_px, box.y_px + box.height_px)
    columns = slice(box.x_px, box.x_px + box.width_px)
    if page.axes == "SYX":
        return np.asarray(np.moveaxis(whole[:, rows, columns], 0, 2))
    return np.asarray(whole[rows, columns].reshape(box.height_px, box.width_px, -1))


def _spread(room: int) -> list[int]:
    return sorted({room * k // (DEPTH_SAMPLES - 1) for k in range(DEPTH_SAMPLES)})
