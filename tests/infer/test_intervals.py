"""Intervals hold what they promise: shown by simulation, not by formula alone."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellrot_infer import intervals
from cellrot_infer.intervals import (
    Interval,
    classifier_intervals,
    further_cells,
    wilson,
)

Counts = NDArray[np.int64]
totals = st.integers(1, 100_000)
COMPOSITION = np.array([0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.015, 0.005])


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_intervals(
    count: int, total: int, low: float, high: float
) -> None:
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


@given(totals, st.data())
def test_wilson_stays_within_bounds_and_holds_the_share(
    total: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, total))
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1


def test_nothing_counted_is_nothing_known() -> None:
    assert wilson(0, 0) == (0, 1)


@given(totals, st.data(), st.floats(0.002, 0.2))
def test_further_cells_are_enough_and_one_less_is_not(
    total: int, data: st.DataObject, half_width: float
) -> None:
    share = data.draw(st.integers(0, total)) / total
    more = further_cells(round(share * total), total, half_width)

    assert intervals._wilson_half_width(share, total + more) <= half_width
    if more:
        one_less = intervals._wilson_half_width(share, total + more - 1)
        assert one_less > half_width


def test_where_nothing_is_counted_a_half_is_supposed() -> None:
    assert further_cells(0, 0, 0.02) == 2 + further_cells(1, 2, 0.02)


def test_a_precision_outside_of_percentages_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        further_cells(3, 10, 1.5)


def simulate(seed: int, slides: int) -> tuple[list[Counts], list[Counts]]:
    """Return the counts and the validation confusion of each simulated slide."""
    rng = np.random.default_rng(seed)
    size = len(COMPOSITION)
    rates = np.full((size, size), 0.06 / (size - 1))
    np.fill_diagonal(rates, 0.94)
    named, confused = [], []
    for _ in range(slides):
        truth = rng.multinomial(300, COMPOSITION)
        named.append(rng.multinomial(truth, rates).sum(axis=0))
        confused.append(rng.multinomial([160] * size, rates))
    return named, confused


def coverage(found: Sequence[Sequence[Interval]]) -> float:
    ends = np.array(found)
    held = (ends[..., 0] <= COMPOSITION) & (ends[..., 1] >= COMPOSITION)
    return float(held.mean())


def test_the_classifier_interval_holds_the_truth_95_times_in_100(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, fewer in {"CHAINS": 16, "WARM_UP": 60, "STEPS": 80}.items():
        monkeypatch.setattr(intervals, name, fewer)
    named, confused = simulate(seed=3, slides=250)

    found = [classifier_intervals(*pair) for pair in zip(named, confused, strict=True)]

    assert 0.93 <= coverage(found) <= 0.97


def test_wilson_alone_does_not_where_cells_are_confused() -> None:
    named, _ = simulate(seed=3, slides=250)

    found = [[wilson(int(count), 300) for count in slide] for slide in named]

    assert coverage(found) < 0.93


def test_a_class_that_is_often_missed_has_more_cells_than_were_named() -> None:
    confusion = [[50, 50], [0, 100]]

    blasts, others = classifier_intervals([20, 80], confusion)

    assert blasts.low < 0.4 < blasts.high
    assert wilson(20, 100).high < 0.4
    assert others.low < 0.6 < others.high


def test_what_a_person_named_is_not_doubted() -> None:
    coin = [[50, 50], [50, 50]]
    doubted = classifier_intervals([200, 200], coin)[0]
    named = classifier_intervals([0, 0], coin, known=[200, 200])[0]

    assert named == pytest.approx(wilson(200, 400), abs=0.01)
    assert doubted.high - doubted.low > 2 * (named.high - named.low)


def test_classes_outside_of_the_denominator_do_not_dilute_the_others() -> None:
    sure = np.eye(3, dtype=int) * 1000
    with_platelets = classifier_intervals(
        [60, 40, 500], sure, counted=[True, True, False]
    )

    assert with_platelets[2] == (0, 0)
    assert with_platelets[0] == pytest.approx(wilson(60, 100), abs=0.02)


def test_that_a_class_never_seen_is_not_there_cannot_be_ruled_out() -> None:
    seen, never = classifier_intervals([10, 0], [[90, 10], [5, 95]])
    assert never.low == 0 < seen.low


def test_the_same_counts_give_the_same_interval() -> None:
    confusion = [[90, 10], [5, 95]]
    first = classifier_intervals([30, 70], confusion)
    assert classifier_intervals([30, 70], confusion) == first


def test_a_confusion_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 classes need \(3, 3\), got \(2, 2\)"):
        classifier_intervals([1, 2, 3], [[1, 0], [0, 1]])
