"""How good the weights are that training has reached: on patches it never saw."""

from typing import NamedTuple

import torch
from torch import Tensor

from cellrot_train.objectives import Learner
from cellrot_train.sampling import Feed

BATCH = 256


class Scores(NamedTuple):
    """Figures of a split; `confusion` (K, K) counts true class by predicted class."""

    macro_f1: float
    accuracy: float
    confusion: Tensor


@torch.no_grad()
def features_of(learner: Learner, images: Tensor, rows: Tensor) -> Tensor:
    """Return the features (M, F) of `rows` of the bytes `images` (N, 3, S, S)."""
    learner.eval()
    device = learner.intake.mask.device
    parts = [torch.empty(0, learner.encoder.feature_size, device=device)]
    for part in rows.split(BATCH):
        patches = learner.intake(images[part.to(images.device)].to(device))
        parts.append(learner.encoder.encode(patches).features.float())
    return torch.cat(parts)


@torch.no_grad()
def objective_loss(learner: Learner, feed: Feed) -> float:
    """Return the mean objective over the first epoch of `feed`: always the same."""
    learner.eval()
    batches = feed.batches(0, feed.plan.steps_per_epoch)
    losses = [learner(batch)["loss"].item() for batch in batches]
    return sum(losses) / len(losses)


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
