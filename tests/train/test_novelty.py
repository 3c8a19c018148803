"""Novelty is a distance that training-like cells keep near 1."""

import pytest
import torch
from torch import Tensor

from cellrot_train.novelty import Novelty


def clusters(seed: int) -> tuple[Tensor, Tensor]:
    """Return correlated features (N, 8) around two centres, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(2000) % 2
    mixing = torch.randn(8, 8, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(2000, 8, generator=generator) @ mixing
    return noise + 10 * targets[:, None], targets


def test_new_cells_of_the_training_classes_lie_at_about_one() -> None:
    novelty = Novelty.fit(*clusters(seed=0))

    assert novelty(clusters(seed=1)[0]).mean().item() == pytest.approx(1, abs=0.1)


def test_cells_between_the_classes_are_novel() -> None:
    novelty = Novelty.fit(*clusters(seed=0))
    usual = novelty(clusters(seed=1)[0]).quantile(0.99)

    strange = clusters(seed=1)[0] * torch.tensor([1.0, -1] * 4)

    assert (novelty(strange)[1::2] > usual).float().mean() > 0.9


def test_novelty_does_not_change_when_features_are_mixed_linearly() -> None:
    features, targets = clusters(seed=0)
    generator = torch.Generator().manual_seed(2)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q

    plain = Novelty.fit(features, targets)(features)
    mixed = Novelty.fit(features @ mixing, targets)(features @ mixing)

    torch.testing.assert_close(mixed, plain, rtol=1e-3, atol=1e-3)
