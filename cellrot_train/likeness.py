"""Images that show the same cell: shifted, turned, mirrored, recoloured or compressed.

Around its centre, a turn of an image is a shift of its polar picture, and the
magnitudes of the Fourier transform along the angle do not see a shift. Comparing them
costs one matrix product for all pairs; the few that are alike are turned onto each
other and compared pixel by pixel.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

THUMB_SIDE_PX = 64
RINGS, ANGLES, FREQUENCIES = 16, 64, 16
# What copies reach and different cells do not: see benchmarks/duplicates.py. Each bound
# leaves fewer pairs to the next, which costs more.
MIN_SIGNATURE, MIN_POLAR, MIN_LIKENESS = 0.85, 0.65, 0.96
MARGIN_PX = 8  # of the thumb: how far a crop may have moved
_MIN_CONTRAST = 2.0  # of 255; fainter structure is noise
_BLOCK = 512

Thumbs = NDArray[np.uint8]  # (N, 64, 64)


class Pair(NamedTuple):
    """Two images, by position, and how alike they are, at most 1."""

    first: int
    second: int
    likeness: float


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) at 64 x 64 pixels."""
    side = (THUMB_SIDE_PX, THUMB_SIDE_PX)
    return np.asarray(cv2.resize(image, side, interpolation=cv2.INTER_AREA), np.uint8)


def thumb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what is compared of an image (H, W, 3): its green, which stains absorb."""
    return shrink(image)[..., 1].copy()


def find_pairs(thumbs: Thumbs) -> Iterator[Pair]:
    """Yield the pairs that show the same cell, in order of the first image."""
    if not len(thumbs):
        return
    spectra, contrast = _spectra(thumbs)
    shown = np.flatnonzero(contrast > _MIN_CONTRAST)
    spectra = spectra[shown]
    signatures = np.abs(spectra).reshape(-1, FREQUENCIES * RINGS)
    for start in range(0, len(shown), _BLOCK):
        block = slice(start, start + _BLOCK)
        alike = signatures[block] @ signatures[start:].T
        first, second = np.nonzero(np.triu(alike, k=1) > MIN_SIGNATURE)
        pairs = np.stack([first, second], axis=1) + start
        for (i, j), turn in _turned_alike(spectra, pairs):
            a, b = int(shown[i]), int(shown[j])
            likeness = _likeness(thumbs[a], _turned(thumbs[b], turn))
            if likeness > MIN_LIKENESS:
                yield Pair(a, b, likeness)


def _spectra(thumbs: Thumbs) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return unit spectra along the angle, (N, 16, 16), and the contrast, (N,).

    The mean of each ring is left out: all cells are dark discs on a bright ground.
    Rings weigh as their area.
    """
    weight = np.sqrt(np.arange(RINGS, dtype=np.float32) + 0.5)
    polar = np.stack([_polar(image) for image in thumbs]) * weight
    found = np.fft.rfft(polar, axis=1)[:, 1 : FREQUENCIES + 1].astype(np.complex64)
    length = np.linalg.norm(found, axis=(1, 2), keepdims=True)
    contrast = length[:, 0, 0] / ANGLES * np.sqrt(2 / (weight**2).sum())  # Parseval
    return found / np.maximum(length, 1e-6), contrast


def _polar(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the image by angle and radius, (64, 16)."""
    centre = ((THUMB_SIDE_PX - 1) / 2, (THUMB_SIDE_PX - 1) / 2)
    size, radius = (RINGS, ANGLES), THUMB_SIDE_PX / 2
    return cv2.warpPolar(image, size, centre, radius, cv2.INTER_LINEAR).astype("f4")


def _turned_alike(
    spectra: NDArray[np.complex64], pairs: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the pairs that some turn makes alike, and the turn.

    Turns count in 64ths of a circle; from 64 on, the second image is mirrored first.
    """
    for start in range(0, len(pairs), 4096):
        chunk = pairs[start : start + 4096]
        first, second = spectra[chunk[:, 0]], spectra[chunk[:, 1]]
        products = (first * second.conj()).sum(axis=2), (first * second).sum(axis=2)
        spectrum = np.stack(products, axis=1)  # (P, 2, 16)
        padded = np.pad(spectrum, ((0, 0), (0, 0), (1, ANGLES // 2 - FREQUENCIES)))
        alike = (
            np.fft.irfft(padded, ANGLES, axis=2).reshape(len(chunk), -1) * ANGLES / 2
        )
        turn = alike.argmax(axis=1)
        for row in np.flatnonzero(alike.max(axis=1) > MIN_POLAR):
            yield chunk[row], int(turn[row])


def _turned(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    centre = ((THUMB_SIDE_PX - 1) / 2, (THUMB_SIDE_PX - 1) / 2)
    upright = image if turn < ANGLES else np.ascontiguousarray(image[::-1])
    matrix = cv2.getRotationMatrix2D(centre, -360 / ANGLES * (turn % ANGLES), 1)
    size, border = (THUMB_SIDE_PX, THUMB_SIDE_PX), cv2.BORDER_REFLECT_101
    turned = cv2.warpAffine(upright, matrix, size, None, cv2.INTER_LINEAR, border)
    return np.asarray(turned, np.uint8)


def _likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the best correlation of the middle of one with a part of the other."""
    middle = first[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    return float(cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED).max())
