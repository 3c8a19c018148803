"""Features in which cells of a kind lie close together, made without labels.

Cells that look alike still differ in light, focus, noise and what else does not matter.
The directions in which near neighbours differ are shrunk until they differ equally in
all, and what is left tells the kinds apart. One linear map: relevant component analysis
(Bar-Hillel et al., ICML 2003), with neighbours in place of groups that are known.
"""

from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cellrot_infer.types import Floats

NEIGHBOURS = 5
LEAST_SPREAD = 0.01  # of the usual one: a feature that is the same in all is rounding
LEAST_VARIANCE = 0.1  # of the mean over directions: what hardly varies stays small


class Whitening(NamedTuple):
    """Features (N, F) less `mean` (F,), times `matrix` (F, F)."""

    mean: Floats
    matrix: Floats

    def __call__(self, features: Floats) -> Floats:
        """Return `features` (N, F) whitened."""
        found: Floats = ((features - self.mean) @ self.matrix).astype(np.float32)
        return found


def learn_whitening(features: Floats) -> Whitening:
    """Return the map that the `features` (N, F) of two cells or more tell.

    It starts from features of equal spread, and finds neighbours there by cosine. One
    that is the same in all of these cells stays small: made as large as the others, it
    would outweigh them in the first cell that wakes it.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.maximum(spread, LEAST_SPREAD * np.median(spread))
    scale = np.where(scale > 0, scale, 1)
    standard = ((features - mean) / scale).astype(np.float64)
    count = min(NEIGHBOURS, len(standard) - 1)
    nearest = NearestNeighbors(n_neighbors=count, metric="cosine").fit(standard)
    near = nearest.kneighbors(return_distance=False)
    apart = (standard[:, None] - standard[near]).reshape(-1, standard.shape[1])
    variances, directions = np.linalg.eigh(apart.T @ apart / len(apart))
    variances = np.maximum(variances, 0) + LEAST_VARIANCE * variances.mean() + 1e-9
    inverse = (directions / np.sqrt(variances)) @ directions.T
    return Whitening(mean, inverse / scale[:, None])
