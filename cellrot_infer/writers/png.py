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
    # runs are found at once; a search for all that comes again finds little more
    packer = zlib.compressobj(strategy=zlib.Z_RLE)
    pixels = packer.compress(rows.data) + packer.flush()
    parts = (b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in (*parts, _END))


def indexed(image: RGB, exact: Collection[Colour]) -> tuple[NDArray[np.uint8], RGB]:
    """Return the number of the colour of each pixel, (H, W), and the colours (N, 3)."""
    keys = _keys(image)
    counts = cv2.calcHist([keys], [0], None, [KEYS], [0, KEYS]).ravel()
    used = np.flatnonzero(counts > 0)
    colours = np.stack([used & 31, used >> 5 & 31, used >> 10]) * (255 / 31)
    weights = np.sqrt(counts[used], dtype=np.float64)  # one looks for what is rare
    boxes = _boxes(colours, weights, COLOURS - len(exact))
    count = int(boxes.max()) + 1
    means = _sums(colours * weights, boxes, count) / np.bincount(boxes, weights)
    order = means.sum(axis=0).argsort()  # alike are neighbours, which packs well
    numbers = np.zeros(KEYS, np.uint8)
    numbers[used] = order.argsort()[boxes]
    own = np.array(list(exact), np.uint8)
    numbers[_keys(own[None])[0]] = count + np.arange(len(own))
    palette = np.vstack([np.rint(means.T[order]).astype(np.uint8), own])
    return numbers.take(keys), palette


def _keys(image: RGB) -> NDArray[np.uint16]:
    """Return five bits of each channel, those of red the lowest."""
    pairs = cv2.cvtColor(image, cv2.COLOR_BGR2BGR555)
    return pairs.view(np.uint16)[..., 0]


def _boxes(colours: Reals, weights: Reals, most: int) -> Numbers:
    """Return in which of at most `most` boxes each of `colours` (3, N) is."""
    moments = np.vstack([weights, colours * weights, colours**2 * weights])
    boxes = np.zeros(len(weights), np.intp)
    count = 1
    while count < most:
        total, first, second = np.split(_sums(moments, boxes, count), [1, 4])
        means = first / total
        spread = second - first * means
        widest = spread.max(axis=0)
        split = (-widest).argsort()[: most - count]
        split = split[widest[split] > 1]  # others hold one colour
        if not split.size:
            break
        after = np.arange(count)
        after[split] = count + np.arange(split.size)
        axis = spread.argmax(axis=0)
        level = means[axis, np.arange(count)]
        above = colours[axis[boxes], np.arange(len(boxes))] > level[boxes]
        boxes = np.where(above, after[boxes], boxes)
        count += split.size
    return boxes


def _sums(rows: Reals, boxes: Numbers, count: int) -> Reals:
    """Return the sum of each of `rows` (K, N) in each of `count` boxes, (K, count)."""
    places = boxes + count * np.arange(len(rows))[:, None]
    sums = np.bincount(places.ravel(), rows.ravel())
    return np.asarray(sums, np.float64).reshape(-1, count)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


_END = b"IEND", b""
