"""A decision follows from the probabilities, the novelty and the card's thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.card import Thresholds
from cellrot_infer.decision import Verdict, decide
from cellrot_infer.types import Predictions
from tests.conftest import tiny_card

CARD = tiny_card(
    thresholds=Thresholds(set_probability=0.25, coverage=0.95, novelty=2.0)
)


def verdict(probabilities: list[float], novelty: float = 0.0) -> Verdict:
    predictions = Predictions(
        np.array([probabilities], np.float32),
        np.zeros((1, 3), np.float32),
        np.array([novelty], np.float32),
    )
    (found,) = decide(predictions, CARD)
    return found


@pytest.mark.parametrize(
    ("probabilities", "novelty", "decision"),
    [
        ([0.80, 0.12, 0.08], 0.0, "accepted"),
        ([0.60, 0.30, 0.10], 0.0, "uncertain"),  # two classes in the set
        ([0.24, 0.24, 0.24], 0.0, "uncertain"),  # none in the set
        ([0.75, 0.25, 0.00], 0.0, "uncertain"),  # the threshold itself is in the set
        ([0.80, 0.12, 0.08], 2.5, "unknown"),
        ([0.60, 0.30, 0.10], 2.5, "unknown"),
        ([0.80, 0.12, 0.08], 2.0, "accepted"),
    ],
)
def test_the_thresholds_decide(
    probabilities: list[float], novelty: float, decision: str
) -> None:
    assert verdict(probabilities, novelty).decision == decision


@given(st.permutations([0.7, 0.2, 0.1]))
def test_the_two_likeliest_classes_are_named(probabilities: list[float]) -> None:
    found = verdict(probabilities)

    assert found.label == CARD.class_names[probabilities.index(0.7)]
    assert found.runner_up == CARD.class_names[probabilities.index(0.2)]
    assert (found.probability, found.runner_up_probability) == pytest.approx((0.7, 0.2))


def test_no_cells_no_verdicts() -> None:
    nothing = np.empty(0, np.float32)

    assert decide(Predictions(nothing.reshape(0, 3), nothing, nothing), CARD) == []
