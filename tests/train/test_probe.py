"""Folds do not leak, readers read, and nothing is found in noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cellrot_infer.errors import DataError
from cellrot_infer.types import Floats
from cellrot_train import probe
from cellrot_train.metrics import Indices
from cellrot_train.probe import (
    FOLDS,
    PENALTIES,
    READERS,
    Reader,
    assign_folds,
    few_label_runs,
    fit_probe,
)


def blobs(cells: int, distance: float, seed: int = 0) -> tuple[Floats, Indices]:
    """Return features (N, 8) of three classes whose centres lie apart."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(3, size=cells)
    centres = chance.normal(size=(3, 8)) * distance
    return (centres[labels] + chance.normal(size=(cells, 8))).astype("f4"), labels


def accuracy(reader: Reader, features: Floats, labels: Indices, fold: Indices) -> float:
    predicted = fit_probe(reader, features, labels, fold).predict(features)
    return float((predicted == labels).mean())


@given(st.integers(0, 10), st.integers(25, 80))
def test_folds_share_every_class_evenly(seed: int, cells: int) -> None:
    labels = np.arange(cells) % 4

    fold = assign_folds(labels, seed=seed)

    for name in range(4):
        sizes = np.bincount(fold[labels == name], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1


@given(st.integers(0, 10), st.integers(5, 12))
def test_no_slide_lies_in_two_folds(seed: int, slide_count: int) -> None:
    chance = np.random.default_rng(seed)
    slides = np.array([f"s{i % slide_count}" for i in range(120)])
    labels = chance.integers(3, size=120)

    fold = assign_folds(labels, slides, seed=seed)

    assert all(len(set(fold[slides == slide])) == 1 for slide in set(slides))
    assert set(fold) == set(range(FOLDS))


def test_cells_of_unknown_slide_go_on_their_own() -> None:
    slides = np.array(["a"] * 10 + [""] * 90)

    fold = assign_folds(np.arange(100) % 2, slides)

    assert len(set(fold[:10])) == 1
    assert len(set(fold[10:])) == FOLDS


def test_too_few_cells_or_slides_are_refused() -> None:
    with pytest.raises(DataError, match="a class has 4 labelled cells"):
        assign_folds(np.array([0] * 20 + [1] * 4))
    with pytest.raises(DataError, match="4 slides, 5 folds need 5"):
        assign_folds(np.arange(40) % 2, np.array(list("abcd") * 10))


def test_slides_of_one_class_each_leave_nothing_to_learn() -> None:
    slides = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10 + ["e"] * 10)
    labels = np.array([0] * 50 + [1] * 40)
    fold = np.array([{"a": 0, "b": 1, "c": 1, "d": 1, "e": 1}[s] for s in slides])

    with pytest.raises(DataError, match="needs two classes outside each fold"):
        fit_probe("k-NN", np.zeros((90, 2), "f4"), labels, fold)


@pytest.mark.parametrize("reader", READERS)
def test_classes_that_lie_apart_are_told_apart(reader: Reader) -> None:
    features, labels = blobs(200, distance=3)

    assert accuracy(reader, features, labels, assign_folds(labels)) > 0.97


@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_found_in_noise(reader: Reader) -> None:
    features, labels = blobs(600, distance=0)

    assert abs(accuracy(reader, features, labels, assign_folds(labels)) - 1 / 3) < 0.07


@pytest.mark.parametrize("reader", READERS)
def test_what_only_the_slide_tells_helps_no_more(reader: Reader) -> None:
    chance = np.random.default_rng(0)
    slides = np.repeat(np.arange(60), 8)
    labels = chance.integers(2, size=60)[slides]  # a slide is of one class, by chance
    look = chance.normal(size=(60, 40))[slides]
    features = (look + 0.1 * chance.normal(size=(480, 40))).astype("f4")

    leaking = accuracy(reader, features, labels, assign_folds(labels))
    honest = accuracy(
        reader, features, labels, assign_folds(labels, slides.astype(np.str_))
    )

    assert leaking > 0.75
    assert honest < 0.65


@pytest.mark.parametrize("reader", READERS)
def test_units_of_a_feature_do_not_matter(reader: Reader) -> None:
    features, labels = blobs(150, distance=1)
    fold = assign_folds(labels)
    scale = np.geomspace(1e-3, 1e3, 8, dtype="f4")

    plain = fit_probe(reader, features, labels, fold).predict(features)
    scaled = fit_probe(reader, features * scale, labels, fold)

    assert (plain == scaled.predict(features * scale)).mean() > 0.99


def test_the_penalty_is_that_of_a_nested_search() -> None:
    features, labels = blobs(120, distance=0.6, seed=3)
    fold = assign_folds(labels)

    found = fit_probe("logistic regression", features, labels, fold)

    for number, reader in enumerate(found.readers):
        train = fold != number
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            {"logisticregression__C": PENALTIES},
            scoring="f1_macro",
            cv=PredefinedSplit(fold[train]),
        ).fit(features[train], labels[train])
        assert search.best_params_["logisticregression__C"] == reader[-1].C


def test_some_cells_are_read_as_all_cells_are() -> None:
    features, labels = blobs(100, distance=1)
    found = fit_probe("k-NN", features, labels, assign_folds(labels))
    rows = np.array([3, 50, 99])

    np.testing.assert_array_equal(
        found.predict(features[rows], rows), found.predict(features)[rows]
    )


def test_few_labels_are_drawn_outside_the_test_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = blobs(200, distance=1)
    fold, drawn = assign_folds(labels), []
    draw = probe._draw_labels

    def spy(*args: object) -> Indices:
        drawn.append(draw(*args))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(probe, "_draw_labels", spy)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # draws in their order
    runs = few_label_runs(features, labels, fold, 5)

    assert len(runs) == 20
    for run, cells in zip(runs, drawn, strict=True):
        assert not set(fold[cells]) & set(fold[run.rows])
        assert np.bincount(labels[cells]).tolist() == [5, 5, 5]
    assert len({tuple(cells) for cells in drawn}) == 20


def test_draws_do_not_depend_on_the_features() -> None:
    features, labels = blobs(150, distance=2)
    fold = assign_folds(labels)
    other = features @ np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]

    first = few_label_runs(features, labels, fold, 5)
    turned = few_label_runs(other.astype("f4"), labels, fold, 5)

    for a, b in zip(first, turned, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        assert a.reader[-1].classes_.tolist() == b.reader[-1].classes_.tolist()


def test_more_labels_help() -> None:
    features, labels = blobs(500, distance=0.7, seed=1)
    fold = assign_folds(labels)

    def mean_accuracy(per_class: int) -> float:
        runs = few_label_runs(features, labels, fold, per_class)
        hits = [(run.predict(features) == labels[run.rows]).mean() for run in runs]
        return float(np.mean(hits))

    assert mean_accuracy(100) > mean_accuracy(5) + 0.03


def test_a_budget_beyond_the_labels_gives_no_run() -> None:
    features, labels = blobs(60, distance=1)

    assert few_label_runs(features, labels, assign_folds(labels), 100) == []
