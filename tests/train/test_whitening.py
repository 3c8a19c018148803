"""Whitened features: what neighbours differ in counts no more than anything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from cellrot_infer.types import Floats
from cellrot_train.metrics import Indices
from cellrot_train.whitening import learn_whitening

seeds = st.integers(0, 2**32 - 1)


def two_kinds(seed: int, count: int = 300) -> tuple[Floats, Indices]:
    """Return features of two kinds of cells, (N, 42), and the kinds, (N,).

    Forty of the features tell of six loud things that have no part in the kind.
    """
    chance = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    own = kind[:, None] + 0.15 * chance.standard_normal((count, 2))
    loud = chance.standard_normal((count, 6)) @ chance.standard_normal((6, 40))
    return np.concatenate([own, loud], axis=1).astype(np.float32), kind


def told_apart(features: Floats, kind: Indices) -> float:
    nearest = KNeighborsClassifier(5, metric="cosine")
    return float(cross_val_score(nearest, features, kind).mean())


@pytest.mark.parametrize("seed", range(3))
def test_what_is_loud_and_means_nothing_hides_the_kinds_no_more(seed: int) -> None:
    features, kind = two_kinds(seed)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)

    whitened = learn_whitening(features)(features)

    assert told_apart(standard, kind) < 0.92
    assert told_apart(whitened, kind) > 0.96


@given(seeds, st.floats(0.05, 20))
def test_the_unit_of_a_feature_does_not_count(seed: int, factor: float) -> None:
    features, _ = two_kinds(seed, 60)
    other = features * np.where(np.arange(42) % 2, factor, 1).astype(np.float32)

    assert learn_whitening(other)(other) == pytest.approx(
        learn_whitening(features)(features), abs=1e-3
    )


@given(seeds, st.floats(1e-3, 1e3))
def test_nor_does_the_unit_of_all(seed: int, factor: float) -> None:
    features, _ = two_kinds(seed, 60)
    other = (factor * features).astype(np.float32)

    assert learn_whitening(other)(other) == pytest.approx(
        learn_whitening(features)(features), abs=1e-3
    )


@pytest.mark.parametrize("asleep", [0, 1e-8])
def test_a_feature_that_wakes_later_does_not_hide_the_kinds(asleep: float) -> None:
    features, kind = two_kinds(0, 600)
    noise = np.random.default_rng(1).standard_normal((600, 1)).astype(np.float32)
    seen, later = slice(0, 300), slice(300, 600)
    sleeper = np.concatenate([asleep * noise[seen], 1e-3 * noise[later]])
    both = np.hstack([features, sleeper])

    whitened = learn_whitening(both[seen])(both[later])

    alone = learn_whitening(features[seen])(features[later])
    assert told_apart(alone, kind[later]) > 0.94
    assert told_apart(whitened, kind[later]) == pytest.approx(
        told_apart(alone, kind[later]), abs=0.01
    )


def test_other_cells_are_whitened_one_by_one_as_the_first_ones_tell() -> None:
    features, _ = two_kinds(0)
    whitening = learn_whitening(features[:200])

    all_at_once = whitening(features[200:])

    assert whitening(features[205:206]) == pytest.approx(all_at_once[5:6], abs=1e-5)


@pytest.mark.parametrize("count", [2, 3, 40])
def test_features_that_never_change_and_few_cells_do_no_harm(count: int) -> None:
    features = np.zeros((count, 4), np.float32)
    features[:, 0] = np.arange(count)

    whitened = learn_whitening(features)(features)

    assert np.isfinite(whitened).all()
    assert whitened[0, 0] != whitened[1, 0]
    assert not whitened[:, 1:].any()
