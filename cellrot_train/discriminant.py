"""A classifier from few labels: where the classes lie, and how cells of one scatter.

Logistic regression has a weight for each feature and class to find, and with fewer
labels than features it finds them by chance. Here all classes share one scatter, which
many cells tell, and labels are asked for the centres alone (Fisher 1936; shrunk as
Ledoit and Wolf 2004). Cells without a label then help once: each is counted to the
classes that it may be of, which moves the centres half way and tells the scatter.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from cellrot_train.classifier import Classifier

Vectors = NDArray[np.float64]

MOVED = 0.5  # of the way from the labelled cells' centre to that of all
NEVER = 1e4  # logits below all others
LEAST_VARIANCE = 0.02  # of the mean over directions, where many cells tell the scatter
LEAST_SCATTER = 4e-4  # of the variance of all cells; one cell a class shows none


@torch.no_grad()
def fit_discriminant(
    features: Tensor, labels: Tensor, class_count: int, unlabelled: Tensor | None = None
) -> Classifier:
    """Return the linear discriminant of `labels` (N,) on frozen features (N, F).

    `unlabelled` (M, F) are those of other cells. Every class weighs the same; one
    without a label gets no chance.
    """
    known = features if unlabelled is None else torch.cat([features, unlabelled])
    classifier = Classifier(features.shape[1], class_count).to(features.device)
    classifier.standardise(known)
    vectors = classifier.standard(known).double().cpu().numpy()
    count = len(features)
    taught, asked = vectors[:count], vectors[count:]
    member = np.eye(class_count)[labels.cpu().numpy()]
    seen = member.any(axis=0)
    centres = _centres(taught, member)
    scatter = _shrunk(taught - member @ centres)
    if len(asked):
        likely = _posterior(asked, centres, scatter, seen)
        member = np.concatenate([member, likely])
        found = _centres(vectors, member)
        scatter = _weighted(vectors, member, found)
        centres += MOVED * (found - centres)
    weight, bias = _map(centres, scatter)
    bias[~seen] = bias.min() - NEVER
    classifier.linear.weight.copy_(torch.from_numpy(weight))
    classifier.linear.bias.copy_(torch.from_numpy(bias))
    return classifier


def _centres(vectors: Vectors, member: Vectors) -> Vectors:
    """Return the mean of each class, (K, F), of vectors (N, F) that count as (N, K)."""
    found: Vectors = member.T @ vectors / np.maximum(member.sum(axis=0), 1e-9)[:, None]
    return found


def _shrunk(apart: Vectors) -> Vectors:
    """Return the covariance of vectors around their centres, made sure of."""
    size = np.maximum(apart.std(axis=0), 1e-6)
    scatter, _ = ledoit_wolf(apart / size, assume_centered=True)
    found: Vectors = scatter * np.outer(size, size)
    return found + LEAST_SCATTER * np.eye(len(found))


def _weighted(vectors: Vectors, member: Vectors, centres: Vectors) -> Vectors:
    """Return the covariance around the centres of all classes that a vector may be."""
    mass = member.sum(axis=0)[:, None]
    scatter = (vectors.T @ vectors - centres.T @ (mass * centres)) / mass.sum()
    least = LEAST_VARIANCE * np.trace(scatter) / len(scatter)
    found: Vectors = (1 - LEAST_VARIANCE) * scatter + least * np.eye(len(scatter))
    return found


def _map(centres: Vectors, scatter: Vectors) -> tuple[Vectors, Vectors]:
    """Return weight (K, F) and bias (K,) of the linear discriminant."""
    weight = np.asarray(np.linalg.solve(scatter, centres.T).T, np.float64)
    return weight, -0.5 * (weight * centres).sum(axis=1)


def _posterior(
    vectors: Vectors, centres: Vectors, scatter: Vectors, seen: NDArray[np.bool_]
) -> Vectors:
    """Return how likely each vector is of each class that was `seen`, (N, K)."""
    weight, bias = _map(centres, scatter)
    logits = np.where(seen, vectors @ weight.T + bias, -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    likely: Vectors = np.exp(logits)
    return likely / likely.sum(axis=1, keepdims=True)
