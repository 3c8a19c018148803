"""Features that nobody learned: what an encoder must beat before it means anything."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from cellrot_infer.types import Floats, Patches
from cellrot_train.intake import Intake
from cellrot_train.readout import FEATURES, Model, Readout, shrink

BINS = 16  # of each colour channel
JOINT_BINS = 4  # of each channel, of all channels together
LOWEST, HIGHEST = -3.0, 4.0  # optical density over its spread
JOINT_LOWEST, JOINT_HIGHEST = -2.0, 3.0
RINGS = 16
OUTER = 0.9  # of the radius: the glass beyond nearly every cell
COMPONENTS = 64


def colours_and_rings(side_px: int) -> Model:
    """Return histograms of the colours inside the disc, and the profile over rings.

    Of each ring the mean and the spread of each colour. Invariant but for rounding.
    """
    radius = _radius(side_px)
    edges = np.linspace(0, 1, RINGS + 1)
    rings = [(radius >= a) & (radius < b) for a, b in pairwise(edges)]

    def features(images: Floats) -> Floats:
        pixels = images[:, :, radius < 1]
        parts = [_histogram(pixels[:, channel]) for channel in range(3)]
        parts.append(_joint_histogram(pixels))
        for ring in rings:
            parts += [images[:, :, ring].mean(axis=2), images[:, :, ring].std(axis=2)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    return _model(side_px, features)


def pixel_components(side_px: int, train: Tensor) -> Model:
    """Return the first principal components of the pixels, learned from `train`.

    `train` are bytes (N, 3, S, S).
    """
    pixels = Intake(side_px)(train).flatten(1).numpy()
    count = min(COMPONENTS, len(pixels) - 1)
    known = PCA(count, svd_solver="randomized", random_state=0).fit(pixels)

    def features(images: Floats) -> Floats:
        found: Floats = known.transform(images.reshape(len(images), -1))
        return found.astype(np.float32)

    return _model(side_px, features)


def outer_ring(side_px: int) -> Model:
    """Return mean and spread of the colours beyond the cell, as the camera saw them.

    A cell's class cannot be seen there: what these figures tell is how much lies in
    light, stain, neighbours and the day.
    """
    radius = _radius(side_px)
    ring = (radius >= OUTER) & (radius < 1)

    def read(patches: Patches) -> Readout:
        pixels = shrink(patches, side_px)[:, ring].astype(np.float32)
        parts = [pixels.mean(axis=1), pixels.std(axis=1)]
        return Readout({FEATURES: np.concatenate(parts, axis=1)}, None)

    return read


def _model(side_px: int, features: Callable[[Floats], Floats]) -> Model:
    intake = Intake(side_px)

    def read(patches: Patches) -> Readout:
        small = torch.from_numpy(shrink(patches, side_px)).permute(0, 3, 1, 2)
        return Readout({FEATURES: features(intake(small).numpy())}, None)

    return read


def _radius(side_px: int) -> Floats:
    """Return the distance of each pixel from the centre, 1 at the edge, (S, S)."""
    along = (np.arange(side_px) - (side_px - 1) / 2) / (side_px / 2 - 1)
    return np.hypot(along[:, None], along)


def _histogram(values: Floats) -> Floats:
    """Return the share of the pixels (N, P) in each bin, (N, bins)."""
    return _shares(_bins(values, LOWEST, HIGHEST, BINS), BINS)


def _joint_histogram(pixels: Floats) -> Floats:
    """Return the share of the pixels (N, 3, P) in each bin of all three channels."""
    red, green, blue = (
        _bins(pixels[:, channel], JOINT_LOWEST, JOINT_HIGHEST, JOINT_BINS)
        for channel in range(3)
    )
    place = (red * JOINT_BINS + green) * JOINT_BINS + blue
    return _shares(place, JOINT_BINS**3)


def _bins(values: Floats, low: float, high: float, count: int) -> np.ndarray:
    place = (values - low) / (high - low) * count
    return place.clip(0, count - 1).astype(np.int64)


def _shares(place: np.ndarray, count: int) -> Floats:
    rows = np.arange(len(place))[:, None] * count
    found = np.bincount((rows + place).ravel(), minlength=len(place) * count)
    return found.reshape(len(place), count) / place.shape[1]
