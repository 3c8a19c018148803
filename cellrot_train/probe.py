"""Lightweight readers of frozen features, on folds that never leak.

Five stratified folds of the labelled cells, whole slides where slides are known.
Features are standardised inside the fold. Two readers: multinomial logistic
regression, its penalty chosen on inner folds, and 11 nearest neighbours by cosine.
Few-label runs draw some labels a class, twenty times. Everything random follows from
the labels and a seed, so that two encoders meet the same folds and the same draws.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from cellrot_infer.errors import DataError
from cellrot_infer.types import Floats
from cellrot_train.metrics import Indices, confusion, macro_f1

FOLDS = 5
INNER_FOLDS = 3  # of a few-label run, which has at least five labels a class
NEIGHBOURS = 11
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # C, the weight of the data against the prior
TOLERANCE = 1e-3  # of the fit: half the time of the usual 1e-4, and the same F1
BUDGETS = (5, 20, 100)  # labels a class
DRAWS = 20

T = TypeVar("T")
Made = TypeVar("Made")
Reader = Literal["logistic regression", "k-NN"]
READERS: tuple[Reader, ...] = ("logistic regression", "k-NN")


@dataclass(frozen=True)
class Probe:
    """Readers of one kind, each fitted on all folds but its own."""

    fold: Indices  # (N,)
    readers: tuple[Pipeline, ...]

    def predict(self, features: Floats, rows: Indices | None = None) -> Indices:
        """Return the class that a reader who has not seen the cell gives it, (M,).

        `features` (M, F) are those of all cells, or of the cells at `rows` (M,).
        """
        fold = self.fold if rows is None else self.fold[rows]
        predicted = np.zeros(len(fold), dtype=np.int64)
        with _one_thread():
            for number, reader in enumerate(self.readers):
                if (own := fold == number).any():
                    predicted[own] = reader.predict(features[own])
        return predicted


@dataclass(frozen=True)
class FewLabelRun:
    """A reader of few labels, and the cells `rows` (M,) of its test fold."""

    rows: Indices
    reader: Pipeline

    def predict(self, features: Floats) -> Indices:
        """Return the class of the test cells, (M,), from features (N, F) of all."""
        with _one_thread():
            return self.reader.predict(features[self.rows])


def assign_folds(
    labels: Indices, slides: NDArray[np.str_] | None = None, *, seed: int = 0
) -> Indices:
    """Return the fold of each cell, (N,), in 0..4; no slide lies in two folds.

    A cell of unknown slide (empty) goes on its own. Raises DataError where a class has
    fewer than five cells, or where there are fewer than five slides.
    """
    counts = np.bincount(labels)
    if rare := counts[(counts > 0) & (counts < FOLDS)].tolist():
        raise DataError(
            f"a class has {rare[0]} labelled cells, {FOLDS} folds need {FOLDS}"
        )
    fold = np.zeros(len(labels), dtype=np.int64)
    for number, test in enumerate(_test_rows(labels, slides, seed)):
        fold[test] = number
    return fold


def fit_probe(kind: Reader, features: Floats, labels: Indices, fold: Indices) -> Probe:
    """Return readers of features (N, F) that tell `labels` (N,)."""
    _refuse_single_class(labels, fold)
    if kind == "k-NN":
        readers = [KNeighborsClassifier(NEIGHBOURS, metric="cosine")] * FOLDS
    else:
        chosen = _choose_penalties(features, labels, fold)
        readers = [_logistic(penalty) for penalty in chosen]

    def fit(number: int) -> Pipeline:
        train = fold != number
        reader = make_pipeline(StandardScaler(), clone(readers[number]))
        return reader.fit(features[train], labels[train])

    return Probe(fold, tuple(_for_each(fit, range(FOLDS))))


def few_label_runs(
    features: Floats, labels: Indices, fold: Indices, per_class: int, *, seed: int = 0
) -> list[FewLabelRun]:
    """Return 20 logistic regressions, each of `per_class` labels of every class.

    The labels of a draw lie outside its test fold; the other cells outside it help
    to standardise. Draws of the same labels and seed are the same for all features.
    Returns nothing where a class has too few labels.
    """

    def run(draw: int) -> FewLabelRun:
        chance = np.random.default_rng((seed, per_class, draw))
        train = np.flatnonzero(fold != draw % FOLDS)
        chosen = _draw_labels(labels, train, per_class, chance)
        scaler = StandardScaler().fit(features[train])
        reader = _few_label_reader(scaler.transform(features[chosen]), labels[chosen])
        test = np.flatnonzero(fold == draw % FOLDS)
        return FewLabelRun(test, make_pipeline(scaler, reader))

    enough = per_class <= most_labels(labels, fold)
    return _for_each(run, range(DRAWS)) if enough else []


def most_labels(labels: Indices, fold: Indices) -> int:
    """Return how many labels a class every draw can have."""
    classes = np.unique(labels)
    outside = [labels[fold != number] for number in range(FOLDS)]
    return min(int((part == name).sum()) for part in outside for name in classes)


def _test_rows(
    labels: Indices, slides: NDArray[np.str_] | None, seed: int
) -> Iterator[Indices]:
    cells = np.zeros(len(labels))
    if slides is None or not (slides != "").any():
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        return (test for _, test in splitter.split(cells, labels))
    alone = np.char.add("\0", np.arange(len(labels)).astype(np.str_))
    groups = np.where(slides == "", alone, slides)
    if (count := len(np.unique(groups))) < FOLDS:
        raise DataError(f"{count} slides, {FOLDS} folds need {FOLDS}")
    grouped = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return (test for _, test in grouped.split(cells, labels, groups))


def _refuse_single_class(labels: Indices, fold: Indices) -> None:
    for number in range(FOLDS):
        if len(np.unique(labels[fold != number])) < 2:
            raise DataError(
                "the labelled cells are of one class, or each slide is; "
                "a probe needs two classes outside each fold"
            )


def _choose_penalties(features: Floats, labels: Indices, fold: Indices) -> list[float]:
    """Return the best C for each fold to be left out, judged on the other four.

    What is fitted without folds i and j judges j for i and i for j: half the work.
    """
    merit = np.zeros((FOLDS, FOLDS, len(PENALTIES)))

    def judge(pair: tuple[int, int]) -> None:
        train = ~np.isin(fold, pair)
        known = StandardScaler().fit(features[train]).transform(features)
        for c, reader in enumerate(_by_penalty(known[train], labels[train])):
            for outer, inner in (pair, pair[::-1]):
                test = fold == inner
                merit[outer, inner, c] = _merit(reader, known[test], labels[test])

    _for_each(judge, combinations(range(FOLDS), 2))
    return [PENALTIES[best] for best in merit.sum(axis=1).argmax(axis=1)]


def _for_each(make: Callable[[T], Made], items: Iterable[T]) -> list[Made]:
    """Return `make` of each item, side by side.

    Matrices this small lose in a threaded BLAS: on a busy machine its threads wait
    for each other and a fit takes twenty times as long.
    """
    with _one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, items))


def _one_thread() -> AbstractContextManager:
    """Keep linear algebra on one thread for a while."""
    return _libraries().limit(limits=1)


@cache
def _libraries() -> ThreadpoolController:
    """Return the loaded libraries of linear algebra; to look for them takes 10 ms."""
    return ThreadpoolController()


def _few_label_reader(features: Floats, labels: Indices) -> LogisticRegression:
    """Return the logistic regression of a few standardised cells."""
    inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0)
    merit = np.zeros(len(PENALTIES))
    for train, test in inner.split(features, labels):
        for c, reader in enumerate(_by_penalty(features[train], labels[train])):
            merit[c] += _merit(reader, features[test], labels[test])
    return _logistic(PENALTIES[merit.argmax()]).fit(features, labels)


def _by_penalty(features: Floats, labels: Indices) -> Iterator[LogisticRegression]:
    """Yield one reader after its fit with each C; each fit starts at the last."""
    reader = _logistic(PENALTIES[0])
    for penalty in PENALTIES:
        yield reader.set_params(C=penalty).fit(features, labels)


def _merit(reader: LogisticRegression, features: Floats, labels: Indices) -> float:
    predicted = reader.predict(features)
    return float(macro_f1(confusion(labels, predicted, labels.max() + 1)))


def _draw_labels(
    labels: Indices, train: Indices, per_class: int, chance: np.random.Generator
) -> Indices:
    of_class = (train[labels[train] == name] for name in np.unique(labels))
    drawn = [chance.choice(cells, per_class, replace=False) for cells in of_class]
    return np.concatenate(drawn)


def _logistic(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, tol=TOLERANCE, max_iter=1000, warm_start=True)
