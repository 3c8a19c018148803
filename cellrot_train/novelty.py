"""How far a cell lies from the training cells: distance to the nearest of their kinds.

Mahalanobis distance with one covariance for all classes (Lee et al. 2018,
arXiv:1807.03888), shrunk as by Ledoit and Wolf, since some features hardly vary.

Few directions tell classes apart, one less than there are classes (Fisher 1936). There
a class is no single cloud, so that some cells of it stand for its kinds. Along all
others, hundreds, cells differ by chance: with a full say they would drown what is
strange, with none nobody would see what is strange in them alone.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

KINDS = 10  # of a class, at most
CELLS_OF_A_KIND = 10  # at least, on average
REST = 0.2  # the weight of a direction that tells no classes apart
BATCH = 256

Reals = NDArray[np.float64]


class Novelty(nn.Module):
    """Features (N, F) to distances (N,); a training cell lies at about 1."""

    whitening: Tensor  # (F, F)
    centres: Tensor  # (M, F), the kinds of cells of all classes, whitened

    def __init__(self, whitening: Tensor, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("whitening", whitening)
        self.register_buffer("centres", centres)

    @classmethod
    def fit(cls, features: Tensor, targets: Tensor) -> Self:
        """Fit on labelled training cells, features (N, F) and class indices (N,)."""
        values, labels = features.double().numpy(), targets.numpy()
        classes, place = np.unique(labels, return_inverse=True)
        means = np.stack([values[labels == k].mean(axis=0) for k in classes])
        telling, rest = _directions(values - means[place], means)
        seen = values @ telling
        kinds = np.concatenate([_kinds(seen[labels == k]) for k in classes])
        others = np.tile(means.mean(axis=0) @ rest, (len(kinds), 1))
        whitening = torch.from_numpy(np.hstack([telling, REST * rest])).float()
        centres = torch.from_numpy(np.hstack([kinds, REST * others])).float()
        found = cls(whitening, centres)
        usual = torch.cat([found(part) for part in features.split(BATCH)]).mean()
        return cls(whitening / usual, centres / usual)

    def forward(self, features: Tensor) -> Tensor:
        # broadcast differences: the expanded square loses digits near a centre
        gaps = (features @ self.whitening)[:, None] - self.centres
        return torch.linalg.vector_norm(gaps, dim=2).min(dim=1).values


def _directions(within: Reals, means: Reals) -> tuple[Reals, Reals]:
    """Return whitened directions as columns: that tell class means apart, the others.

    `within` (N, F) are features less the mean of their class, `means` (K, F).
    """
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    eigenvalues, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(eigenvalues, 1e-12))
    between = (means - means.mean(axis=0)) @ whitening
    _, _, turned = np.linalg.svd(between, full_matrices=True)
    telling = min(len(means) - 1, len(turned) - 1)
    whole = whitening @ turned.T
    return whole[:, :telling], whole[:, telling:]


def _kinds(seen: Reals) -> Reals:
    """Return the middles of the kinds of one class (Lloyd 1982)."""
    count = min(KINDS, max(1, len(seen) // CELLS_OF_A_KIND))
    found = KMeans(count, n_init=1, random_state=0).fit(seen)
    return np.asarray(found.cluster_centers_, np.float64)
