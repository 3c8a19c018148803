"""Probabilities and decisions keep their word on cells not used to fit them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cellrot_train.calibration import (
    conformal_probability,
    fit_temperature,
)
from cellrot_train.confidence import reliability


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return logits and classes drawn from the softmax of those very logits."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 5, generator=generator)
    return logits, logits.softmax(1).multinomial(1, generator=generator)[:, 0]


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    confidence, predicted = probabilities.max(dim=1)
    return reliability(confidence.numpy(), (predicted == targets).numpy()).error


@pytest.mark.parametrize("overconfidence", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_known_overconfidence(overconfidence: float) -> None:
    logits, targets = drawn(20_000, seed=0)

    found = fit_temperature(overconfidence * logits, targets)

    assert found == pytest.approx(overconfidence, rel=0.05)


def test_calibration_lowers_the_error_on_other_cells() -> None:
    logits, targets = drawn(5000, seed=1)
    temperature = fit_temperature(3 * logits, targets)
    logits, targets = drawn(5000, seed=2)

    before = calibration_error((3 * logits).softmax(1), targets)
    after = calibration_error((3 * logits / temperature).softmax(1), targets)

    assert after < 0.03 < before


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_conformal_sets_hold_the_true_class_as_promised(coverage: float) -> None:
    logits, targets = drawn(4000, seed=3)
    threshold = conformal_probability(logits.softmax(1), targets, coverage)

    logits, targets = drawn(40_000, seed=4)
    true = logits.softmax(1)[torch.arange(len(targets)), targets]

    assert np.mean((true >= threshold).numpy()) == pytest.approx(coverage, abs=0.015)


def test_too_few_cells_promise_nothing() -> None:
    logits, targets = drawn(10, seed=5)

    assert conformal_probability(logits.softmax(1), targets, 0.95) == 0
