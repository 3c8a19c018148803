"""Calibration and risk against coverage, by hand and against their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_train.confidence import reliability, risk_coverage

answers = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=80
).map(lambda rows: (np.array([r[0] for r in rows]), np.array([r[1] for r in rows])))


def test_a_bin_holds_the_mean_confidence_and_accuracy() -> None:
    confidence = np.array([0.91, 0.95, 0.99, 0.55])
    correct = np.array([True, True, False, False])

    found = reliability(confidence, correct, bins=10)

    assert found.count.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert abs(found.confidence[9] - 0.95) < 1e-12
    assert abs(found.accuracy[9] - 2 / 3) < 1e-12
    assert abs(found.error - (3 * (0.95 - 2 / 3) + 0.55) / 4) < 1e-12


def test_confidence_that_comes_true_has_no_error_and_boasting_has() -> None:
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0.3, 1, 20_000)
    correct = chance.random(20_000) < confidence

    assert reliability(confidence, correct).error < 0.015
    assert reliability(np.sqrt(confidence), correct).error > 0.1


def test_the_calibration_error_of_known_gaps() -> None:
    confidence = np.array([0.9] * 10 + [0.7] * 10)
    correct = np.array([True] * 6 + [False] * 4 + [True] * 10)

    assert abs(reliability(confidence, correct).error - (0.3 + 0.3) / 2) < 1e-9


def test_risk_follows_the_most_confident_first() -> None:
    confidence = np.array([0.6, 0.9, 0.8, 0.7])
    correct = np.array([False, True, True, False])

    curve = risk_coverage(confidence, correct)

    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 2])
    assert abs(curve.area - (0 + 0 + 1 / 3 + 1 / 2) / 4) < 1e-12
    assert curve.risk_at(0.5) == 0
    assert curve.risk_at(0.51) == pytest.approx(1 / 3)


def test_equal_confidence_is_one_threshold() -> None:
    curve = risk_coverage(np.full(4, 0.5), np.array([True, True, False, False]))

    assert curve.coverage.tolist() == [1]
    assert curve.risk.tolist() == [0.5]


@given(answers)
def test_the_order_of_the_cells_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    confidence, correct = pair
    turned = risk_coverage(confidence[::-1], correct[::-1])

    curve = risk_coverage(confidence, correct)

    np.testing.assert_array_equal(curve.risk, turned.risk)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())


def test_confidence_that_knows_beats_one_that_does_not() -> None:
    chance = np.random.default_rng(3)
    correct = chance.random(5000) < 0.8
    knowing = correct + chance.normal(0, 0.5, 5000)
    blind = chance.random(5000)

    assert risk_coverage(knowing, correct).area < 0.08
    assert abs(risk_coverage(blind, correct).area - 0.2) < 0.03
