"""How good the weights are that training has reached: on patches it never saw."""

from typing import NamedTuple

import torch
from torch import Tensor

from cellrot_train.objectives import Learner

BATCH = 256


class Scores(NamedTuple):
    """Figures of a split; `confusion` (K, K) counts true class by predicted class."""

    macro_f1: float
    accuracy: float
    confusion: Tensor


@torch.inference_mode()
def features_of(learner: Learner, patches: Tensor, device: torch.device) -> Tensor:
    """Return the features (N, F) of bytes (N, 3, S, S), on `device`."""
    learner.eval()
    parts = [torch.empty(0, learner.encoder.feature_size, device=device)]
    for part in patches.split(BATCH):
        images = learner.intake(part.to(device))
        parts.append(learner.encoder.encode(images).features.float())
    return torch.cat(parts)


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Return the figures of logits (N, K) against labels (N,)."""
    count = logits.shape[1]
    pairs = labels * count + logits.argmax(dim=1)
    confusion = torch.bincount(pairs, minlength=count * count).reshape(count, count)
    hits, seen = confusion.diagonal(), confusion.sum(dim=1)
    f1 = 2 * hits / (seen + confusion.sum(dim=0)).clamp(min=1)
    present = seen > 0  # a class that the split lacks says nothing
    return Scores(
        f1[present].mean().item(), (hits.sum() / len(labels)).item(), confusion
    )
