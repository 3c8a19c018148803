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


def test_what_is_strange_in_a_direction_that_tells_no_classes_apart_is_novel() -> None:
    features, targets = clusters(seed=0)
    novelty = Novelty.fit(features, targets)
    usual = novelty(clusters(seed=1)[0]).quantile(0.99)
    between = features[targets == 1].mean(dim=0) - features[targets == 0].mean(dim=0)
    covariance = torch.cov(features[targets == 0].T)
    aside = torch.randn(8, generator=torch.Generator().manual_seed(3))
    seen = torch.linalg.solve(covariance, between)
    aside -= (aside @ seen) / (seen @ seen) * seen  # the classes do not see it

    far = features + 300 * aside

    assert novelty(features + 0.01 * aside).quantile(0.9) < usual
    assert (novelty(far) > usual).all()


def test_a_strange_class_is_not_drowned_by_many_directions_of_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(3000) % 3
    corners = torch.tensor([[0.0, 0], [8, 0], [0, 8]])
    features = torch.randn(3000, 300, generator=generator)
    features[:, :2] += corners[targets]
    novelty = Novelty.fit(features, targets)
    usual = torch.randn(1000, 300, generator=generator)
    usual[:, :2] += corners[torch.arange(1000) % 3]
    strange = torch.randn(1000, 300, generator=generator)
    strange[:, :2] += torch.tensor([6.0, 6])

    limit = novelty(usual).quantile(0.95)

    assert (novelty(strange) > limit).float().mean() > 0.9


def test_a_class_of_two_kinds_has_nothing_between_them() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(3000) % 3
    features = torch.randn(3000, 6, generator=generator)
    features[:, 0] += 20.0 * (targets == 1)
    features[:, 1] += torch.where(torch.arange(3000) % 2 == 0, 15.0, -15.0)
    features[:, 1] += 40.0 * (targets == 2)
    novelty = Novelty.fit(features, targets)
    limit = novelty(features).quantile(0.99)

    between = torch.randn(1000, 6, generator=generator)  # the mean of class 0

    assert (novelty(between) > limit).float().mean() > 0.9


def test_novelty_does_not_change_when_features_are_mixed_linearly() -> None:
    features, targets = clusters(seed=0)
    generator = torch.Generator().manual_seed(2)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q

    plain = Novelty.fit(features, targets)(features)
    mixed = Novelty.fit(features @ mixing, targets)(features @ mixing)

    torch.testing.assert_close(mixed, plain, rtol=1e-3, atol=1e-3)
