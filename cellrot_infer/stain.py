"""How much dye a pixel holds: optical density against the frame's own empty glass.

Light that crosses dye falls off exponentially with the amount of it (Beer, Lambert), so
the logarithm of glass over pixel is proportional to the amount, adds where cells
overlap and does not know the colour or the strength of the lamp. Everything else is
judged in optical density: decades of light lost in red, green and blue.

Nuclei are the only things in a Romanowsky stain that hold much dye absorbing red light.
"""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.types import RGB, Floats, Mask

MEASURING_SIDE_PX = 160  # the light of a field needs no more detail
PEAK_SHARE = 0.25  # a peak of brightness this high, against the highest, is glass
GREY_LEVELS_OF_NOISE = 8
# What counts as glass, round after round, and how stiff the light is. The soft surface
# follows a lamp into dark corners, but also pale cells where little glass is seen.
FLAT = (0.02, (0.05, 0.03, 0.02))
SOFT = (0.003, (0.05, 0.05, 0.05, 0.05, 0.05, 0.03, 0.03, 0.02))
MUCH_MORE = 1.25  # glass under the soft surface, against that under the flat one
FEWEST_GLASS_PX = 50
FAINT = 0.06  # decades a colour; glass with all its unevenness is within
SAMPLE_PX = 20_000  # of a frame, enough to measure its noise
CAMERA_NOISE = 0.003  # decades, where the camera saturates and shows none
ROWS_AT_ONCE = 64  # of a large field, so that the processor's cache holds the work
BLACK = 4  # grey levels; lossy compression makes black a little brighter

T = TypeVar("T", bound=np.generic)
Moments = NDArray[np.floating]  # a mean (3,) or a covariance (3, 3)
Places = tuple[Floats, Floats]  # x (1, W) and y (H, 1) of pixels, in the whole field

_GREEN_OVER_BLUE = np.array([[0, 1, -1]], np.float32)
_DECADES = np.log10(np.arange(256) + 1).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Glass:
    """The light that empty glass lets through, in each colour.

    `light` (3,) is its grey level where the lamp is centred; `slopes` (6, 3) says in
    decades how it changes with 1, x, y, xy, xx and yy, sides running from -1 to 1;
    `share` is the part of the field that is glass.
    """

    light: Floats
    slopes: Floats
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Mean (3,) and covariance (3, 3) of the density of empty glass."""

    mean: Moments
    covariance: Moments


def find_glass(pixels: RGB) -> Glass:
    """Return the glass of a field: the brightest common colour, and how it fades.

    The fading of the lamp is a surface of second order through the logarithm of the
    glass, fitted again and again to what lies near it.
    """
    small = shrink(pixels, min(1.0, MEASURING_SIDE_PX / max(pixels.shape[:2])))
    light = _brightest_common(small)
    gained = (_DECADES[small] - np.log10(light + 1)).reshape(-1, 3).T
    terms = light_terms(*small.shape[:2]).reshape(-1, 6).T
    # colours and terms are rows, which are worked on as a whole
    gained, terms = np.ascontiguousarray(gained), np.ascontiguousarray(terms)
    flat = _fitted(light, terms, gained, FLAT)
    soft = _fitted(light, terms, gained, SOFT)
    return soft if soft.share > MUCH_MORE * flat.share else flat


def _fitted(
    light: Floats, terms: Floats, gained: Floats, how: tuple[float, tuple[float, ...]]
) -> Glass:
    """Return the glass after rounds of fitting to what lies near the surface.

    Of N pixels, `terms` (6, N) are those of `light_terms`, `gained` (3, N) decades.
    """
    stiffness, rounds = how
    slopes = np.zeros((6, 3), np.float32)
    share = 0.0
    for tolerance in rounds:
        off = np.abs(gained - slopes.T @ terms)
        glass = np.maximum(np.maximum(off[0], off[1]), off[2]) < tolerance
        share = np.count_nonzero(glass) / len(glass)
        if np.count_nonzero(glass) < FEWEST_GLASS_PX:
            break
        # zeros cost less than to pick what is glass out of rows
        slopes = _fit(terms * glass, gained, stiffness * np.count_nonzero(glass))
    return Glass(light, slopes, share)


def optical_density(pixels: RGB, glass: Glass, at: Places | None = None) -> Floats:
    """Return the decades of light lost against `glass`, (H, W, 3).

    `at` says where the pixels are if they are only a part of the field. What was not
    scanned counts as glass: around an eyepiece, or where a mosaic has gaps.
    """
    x, y = at or places(*pixels.shape[:2])
    density = np.empty(pixels.shape, np.float32)
    for first in range(0, len(pixels), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        density[rows] = _density_of(pixels[rows], glass, (x, y[rows]))
    unseen = ~scanned(pixels)
    if unseen.any():
        density[unseen] = 0
    return density


def _density_of(pixels: RGB, glass: Glass, at: Places) -> Floats:
    x, y = at
    planes = []
    for plane, light, slope in zip(
        cv2.split(pixels), glass.light, glass.slopes.T, strict=True
    ):
        columns = x * slope[1] + x * x * slope[4]
        rows = np.log10(light + 1) + slope[0]
        rows = rows + y * slope[2] + y * y * slope[5]
        full = y * slope[3] * x
        full += rows
        full += columns
        planes.append(cv2.subtract(full, cv2.LUT(plane, _DECADES)))
    return np.asarray(cv2.merge(planes), np.float32)


def scanned(pixels: RGB) -> Mask:
    """Return where `pixels` hold an image; a microscope shows nothing as black."""
    red, green, blue = cv2.split(pixels)
    seen: Mask = cv2.max(cv2.max(red, green), blue) > BLACK
    return seen


def nuclear_stain(density: Floats) -> Floats:
    """Return a score (H, W) that is high in nuclei only.

    Red light is lost in nuclei and little elsewhere. Green is lost in nuclei more than
    blue, while haemoglobin takes both.
    """
    score = np.asarray(cv2.transform(density, _GREEN_OVER_BLUE), np.float32)
    np.maximum(score, 0, out=score)  # all in one piece of memory: a field is large
    score *= 0.5
    score += density[..., 0]
    return score


def total_dye(density: Floats) -> Floats:
    """Return the decades lost in all colours together, (H, W)."""
    return np.asarray(cv2.transform(density, np.ones((1, 3), np.float32)), np.float32)


def glass_noise(density: Floats) -> Noise:
    """Return how noisy the glass of a field is."""
    # a colour after another: numpy is slow along an axis of three
    sample = np.stack(cv2.split(thinned(density)))
    near = sample[:, np.logical_and.reduce(np.abs(sample) < FAINT)]
    if near.shape[1] < FEWEST_GLASS_PX:
        return Noise(np.zeros(3), np.eye(3) * 0.01**2)
    off = np.abs(near - np.median(near, axis=1)[:, None])
    usual = 3.7 * np.median(off, axis=1)[:, None] + 0.0025
    typical = near[:, np.logical_and.reduce(off < usual)]
    covariance = 1.3 * np.cov(typical) + np.eye(3) * CAMERA_NOISE**2
    return Noise(typical.mean(axis=1), covariance)


def off_glass(density: Floats, noise: Noise, deviations: float) -> Mask:
    """Return what is more than so many standard deviations of the glass off it.

    The glass of the frame itself says how noisy it is in each colour (Mahalanobis).
    What is brighter than glass counts as glass.
    """
    distance = squared_distance(density, noise.mean, noise.covariance)
    off: Mask = (distance > deviations**2) & (total_dye(density) >= 0)
    return off


def squared_distance(density: Floats, mean: Moments, covariance: Moments) -> Floats:
    """Return the squared Mahalanobis distance of each pixel, (H, W)."""
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    matrix = np.column_stack([whitening, -whitening @ mean]).astype(np.float32)
    white = cv2.transform(density, matrix)
    return total_dye(np.asarray(cv2.multiply(white, white, dst=white), np.float32))


def thinned(field: NDArray[T]) -> NDArray[T]:
    """Return every so many rows and columns of `field`, enough to measure it."""
    height, width = field.shape[:2]
    step = max(1, round(np.sqrt(height * width / SAMPLE_PX)))
    return field[::step, ::step]


def two_class_threshold(values: Floats, low: float, high: float) -> float:
    """Return what splits `values`, clipped to [low, high], best in two (Otsu 1979)."""
    levels = np.clip((values - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    return low + (high - low) * float(level) / 255


def shrink(pixels: RGB, factor: float) -> RGB:
    """Return the image resized by `factor`; averages where it gets smaller."""
    height, width = pixels.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def blurred(field: Floats, sigma_px: float) -> Floats:
    """Return `field` under a Gaussian of standard deviation `sigma_px`."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma_px), np.float32)


def places(height: int, width: int) -> Places:
    """Return x (1, W) and y (H, 1) of the pixels of a field, sides from -1 to 1."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return x, y


def light_terms(height: int, width: int) -> Floats:
    """Return 1, x, y, xy, xx and yy of the pixels of a field, (H, W, 6)."""
    x, y = places(height, width)
    terms = np.broadcast_arrays(1 + 0 * x * y, x, y, x * y, x * x, y * y)
    return np.stack(terms, 2)


def _brightest_common(pixels: RGB) -> Floats:
    """Return the colour, (3,), of the brightest peak of note in green.

    Every dye of the stain takes green light.
    """
    green = pixels[..., 1]
    counts = np.bincount(green.ravel(), minlength=256).astype(np.float32)
    smooth = cv2.blur(counts[None], (9, 1), borderType=cv2.BORDER_CONSTANT)
    around = cv2.dilate(smooth, np.ones((1, 17), np.uint8))
    peaks = (smooth >= around) & (smooth >= PEAK_SHARE * smooth.max())
    level = int(np.flatnonzero(peaks)[-1])
    glass: Mask = np.abs(green.astype(np.int16) - level) <= GREY_LEVELS_OF_NOISE
    return np.asarray(np.median(pixels[glass], axis=0), np.float32)


def _fit(terms: Floats, values: Floats, stiffness: float) -> Floats:
    """Return the slopes (6, 3) that explain `values` (3, N), held near zero.

    A pixel whose `terms` (6, N) are zeros has no say.
    """
    held = np.diag([1e-3, 1, 1, 1, 1, 1]) * stiffness
    slopes = np.linalg.solve(terms @ terms.T + held, terms @ values.T)
    return slopes.astype(np.float32)
