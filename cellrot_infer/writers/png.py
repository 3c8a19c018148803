"""Pictures as PNG files of at most 256 colours: a third of the size and of the work.

The colours of a stained smear lie close together, so that few of them suffice: boxes of
colours are split at their mean, those that differ most first (variance-based median
cut: Heckbert 1982, Wu 1991).
"""

import struct
import zlib
from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.types import RGB
from cellrot_infer.writers.palette import Colour

COLOURS = 256
KEYS = 1 << 15  # five bits a channel tell colours apart
_INDEXED, _UP = 3, 2  # how pixels are stored; each row as what it differs from the last

Numbers = NDArray[np.intp]
Reals = NDArray[np.float64]


def indexed_png(image: RGB, exact: Collection[Colour]) -> bytes:
    """Return `image` as a PNG file; the `exact` colours stay what they are.

    All others come out within a few grey levels. There are at most some dozens of exact
    ones, and one at least.
    """
    indices, palette = indexed(image, exact)
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    rows = np.full((height, width + 1), _UP, np.uint8)
    rows[0, 1:] = indices[0]
    np.subtract(indices[1:], indices[:-1], out=rows[1:, 1:])
    # a search for what comes again takes longer and finds next to nothing
    packer = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
    pixels = packer.compress(rows.data) + packer.flush()
    parts = (b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in (*parts, _END))


def indexed(image: RGB, exact: Collection[Colour]) -> tuple[NDArray[np.uint8], RGB]:
    """Return the number of the colour of each pixel, (H, W), and the colours (N, 3)."""
    keys = _keys(image)
    counts = np.bincount(keys.ravel(), minlength=KEYS)
    used = np.flatnonzero(counts)
    colours = np.stack([used & 31, used >> 5 & 31, used >> 10], 1) * (255 / 31)
    weights = np.sqrt(counts[used])  # what is rare is what one looks for
    boxes = _boxes(colours, weights, COLOURS - len(exact))
    means = _means(colours, weights, boxes)
    order = means.sum(axis=1).argsort()  # alike are neighbours, which packs well
    numbers = np.zeros(KEYS, np.uint8)
    numbers[used] = order.argsort()[boxes]
    own = np.array(list(exact), np.uint8)
    numbers[_keys(own[None])[0]] = len(means) + np.arange(len(own))
    palette = np.vstack([np.rint(means[order]).astype(np.uint8), own])
    return numbers.take(keys), palette


def _keys(image: RGB) -> NDArray[np.uint16]:
    """Return five bits of each channel, those of red the lowest."""
    pairs = cv2.cvtColor(image, cv2.COLOR_BGR2BGR555)
    return pairs.view(np.uint16)[..., 0]


def _boxes(colours: Reals, weights: Reals, most: int) -> Numbers:
    """Return in which of at most `most` boxes each of `colours` (N, 3) is."""
    boxes = np.zeros(len(colours), np.intp)
    count = 1
    while count < most:
        offsets = colours - _means(colours, weights, boxes)[boxes]
        spread = _sums(offsets**2, weights, boxes)
        split = (-spread.max(axis=1)).argsort()[: most - count]
        split = split[spread[split].max(axis=1) > 1]  # others hold one colour
        if not split.size:
            break
        after = np.arange(count)
        after[split] = count + np.arange(split.size)
        along = offsets[np.arange(len(boxes)), spread.argmax(axis=1)[boxes]]
        boxes = np.where(along > 0, after[boxes], boxes)
        count += split.size
    return boxes


def _means(colours: Reals, weights: Reals, boxes: Numbers) -> Reals:
    return _sums(colours, weights, boxes) / np.bincount(boxes, weights)[:, None]


def _sums(values: Reals, weights: Reals, boxes: Numbers) -> Reals:
    """Return the weighted sum of `values` (N, 3) in each box."""
    return np.stack([np.bincount(boxes, weights * each) for each in values.T], axis=1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


_END = b"IEND", b""
