"""How far a cell lies from the training cells: distance to the nearest class.

Mahalanobis distance with one covariance for all classes (Lee et al. 2018,
arXiv:1807.03888), shrunk as by Ledoit and Wolf, since some features hardly vary.
"""

from typing import Self

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn


class Novelty(nn.Module):
    """Features (N, F) to distances (N,); a training cell lies at about 1."""

    whitening: Tensor  # (F, F)
    centres: Tensor  # (K, F), whitened class means

    def __init__(self, whitening: Tensor, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("whitening", whitening)
        self.register_buffer("centres", centres)

    @classmethod
    def fit(cls, features: Tensor, targets: Tensor) -> Self:
        """Fit on labelled training cells, features (N, F) and class indices (N,)."""
        values, classes = features.double(), targets.unique()
        means = torch.stack([values[targets == k].mean(dim=0) for k in classes])
        centred = values - means[torch.searchsorted(classes, targets)]
        covariance, _ = ledoit_wolf(centred.numpy(), assume_centered=True)
        eigenvalues, axes = np.linalg.eigh(covariance)
        scale = np.sqrt(np.maximum(eigenvalues, 1e-12) * features.shape[1])
        whitening = torch.from_numpy(axes / scale)
        return cls(whitening.float(), (means @ whitening).float())

    def forward(self, features: Tensor) -> Tensor:
        # broadcast differences: the expanded square loses digits near a centre
        gaps = (features @ self.whitening)[:, None] - self.centres
        return torch.linalg.vector_norm(gaps, dim=2).min(dim=1).values
