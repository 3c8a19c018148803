"""Turn scores into probabilities and decisions that keep their word.

Fitted on the validation split only, which training has chosen its best epoch by but
never learned from.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature in [0.05, 20] with the least cross-entropy.

    `logits` (N, K), `targets` (N,) class indices. Guo et al. 2017, arXiv:1706.04599.
    The loss has one minimum along log T, so a golden-section search finds it.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / math.exp(log_temperature)
        return F.cross_entropy(scaled, targets).item()

    low, high = math.log(0.05), math.log(20.0)
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


def conformal_probability(
    probabilities: Tensor, targets: Tensor, coverage: float
) -> float:
    """Return the probability from which on a class belongs to the conformal set.

    The set of all classes at or above it holds the true one for a new cell with
    probability `coverage` (split conformal prediction, Vovk et al. 2005): it is the
    floor((N + 1) (1 - coverage))-th smallest probability of a true class, 0 when N is
    too small to promise anything.
    """
    true = probabilities[torch.arange(len(targets)), targets].sort().values
    rank = math.floor((len(true) + 1) * (1 - coverage))
    return true[rank - 1].item() if rank > 0 else 0.0
