"""A decision follows from the probabilities, the novelty and the card's thresholds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.card import Thresholds
from cellrot_infer.decision import Verdict, decide
from cellrot_infer.types import Decision, Predictions
from tests.conftest import tiny_card

CARD = tiny_card(
    thresholds=Thresholds(set_probability=0.25, coverage=0.95, novelty=2.0),
    largest_um2={"platelet": 100.0},
)


def verdict(
    probabilities: list[float],
    novelty: float = 0.0,
    area_um2: float = 30.0,
    *,
    at_home: bool = True,
) -> Verdict:
    predictions = Predictions(
        np.array([probabilities], np.float32),
        np.zeros((1, 3), np.float32),
        np.array([novelty], np.float32),
    )
    (found,) = decide(predictions, CARD, [area_um2], at_home=at_home)
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


def test_a_cell_too_large_for_what_it_looks_like_is_unknown() -> None:
    small, large = (verdict([0.1, 0.05, 0.85], 0.0, area) for area in (100.0, 101.0))

    assert (small.label, small.decision) == ("platelet", "accepted")
    assert (large.label, large.decision) == ("lymphocyte", "unknown")
    assert large.probability == pytest.approx(0.1 / 0.15)
    assert large.runner_up == "neutrophil"


def test_a_large_cell_that_looks_like_one_is_accepted() -> None:
    found = verdict([0.8, 0.05, 0.15], 0.0, 150.0)

    assert (found.label, found.decision) == ("lymphocyte", "accepted")
    assert found.probability == pytest.approx(0.8 / 0.85)


@pytest.mark.parametrize(
    ("novelty", "decision"), [(0.0, "uncertain"), (2.5, "unknown")]
)
def test_under_a_strange_stain_no_cell_is_accepted(
    novelty: float, decision: Decision
) -> None:
    at_home, away = (
        verdict([0.9, 0.05, 0.05], novelty, at_home=home) for home in (True, False)
    )

    assert away == replace(at_home, decision=decision)


def test_a_cell_too_large_for_every_class_keeps_what_was_seen() -> None:
    assert verdict([0.0, 0.0, 1.0], 0.0, 150.0).label == "platelet"


def test_no_cells_no_verdicts() -> None:
    nothing = np.empty(0, np.float32)

    assert decide(Predictions(nothing.reshape(0, 3), nothing, nothing), CARD, []) == []
