"""The classifier of few labels: better than regression there, and never at a loss."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cellrot_train.classifier import Classifier, fit_classifier
from cellrot_train.discriminant import fit_discriminant

CLASSES, SIZE = 4, 60


def cells(seed: int, per_class: int) -> tuple[Tensor, Tensor]:
    """Return features (N, 60) and classes (N,); all scatter alike, along few ways."""
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((CLASSES, SIZE)) / 3
    scatter = chance.standard_normal((8, SIZE))
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), per_class)
    loud = chance.standard_normal((len(labels), 8)) @ scatter
    fine = chance.standard_normal((len(labels), SIZE)) * 0.7
    features = (centres[labels] + loud + fine).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(labels)


@torch.no_grad()
def hits(classifier: Classifier) -> float:
    features, labels = cells(99, 500)
    return float((classifier(features).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_other_cells_few_labels_teach_most(seed: int) -> None:
    features, labels = cells(seed, 10)
    others, _ = cells(seed + 10, 500)

    regression = max(
        hits(fit_classifier(features, labels, CLASSES, l2=l2)) for l2 in (1e-3, 1e-1)
    )
    alone = hits(fit_discriminant(features, labels, CLASSES))
    helped = hits(fit_discriminant(features, labels, CLASSES, others))

    assert helped > max(regression, alone) + 0.03


def test_no_cell_is_of_a_class_that_nobody_showed() -> None:
    features, labels = cells(1, 10)
    shown = labels != 2
    others, _ = cells(2, 50)

    classifier = fit_discriminant(features[shown], labels[shown], CLASSES, others)

    assert not (classifier(features).argmax(dim=1) == 2).any()
    assert classifier(features).softmax(dim=1)[:, 2].max() == 0


def test_the_unit_of_a_feature_does_not_count() -> None:
    features, labels = cells(1, 10)
    others, _ = cells(2, 50)
    unit = 2.0 ** (torch.arange(SIZE) % 3 - 1)

    one = fit_discriminant(features, labels, CLASSES, others)
    other = fit_discriminant(features * unit, labels, CLASSES, others * unit)

    assert torch.allclose(one(features), other(features * unit), rtol=1e-3, atol=1e-2)


def test_one_cell_a_class_and_features_that_never_change_do_no_harm() -> None:
    features, labels = cells(1, 1)
    features[:, :5] = 7.0

    classifier = fit_discriminant(features, labels, CLASSES)

    assert torch.isfinite(classifier(features)).all()
    assert (classifier(features).argmax(dim=1) == labels).all()


@pytest.mark.parametrize("per_class", [3, 20])
def test_nobody_else_is_no_help(per_class: int) -> None:
    features, labels = cells(1, per_class)
    none = torch.empty(0, SIZE)

    alone, nobody = (
        fit_discriminant(features, labels, CLASSES, others) for others in (None, none)
    )

    assert torch.equal(alone(features), nobody(features))
