"""How good predictions are, and how sure of that one can be.

Every score is a function of confusion matrices (..., K, K), rows the truth and columns
the prediction, so that thousands of bootstrap draws are scored in one call.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # (..., K, K) confusion matrices
Indices = NDArray[np.int64]  # (N,) class indices
Scores = NDArray[np.float64]
Score = Callable[[Counts], Scores]

DRAWS = 2000
MIN_GROUPS = 5  # fewer slides say nothing of the spread between slides
LEVEL = 0.95

# BloodMNIST merges the stages that even experts draw apart differently (Yang et al.,
# MedMNIST v2, Scientific Data 10 (2023) 41).
EIGHT_CLASSES = {
    "band_neutrophil": "neutrophil",
    "segmented_neutrophil": "neutrophil",
    "promyelocyte": "immature granulocyte",
    "myelocyte": "immature granulocyte",
    "metamyelocyte": "immature granulocyte",
}


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class ClassScore(NamedTuple):
    """How well one class is found; `support` counts its cells."""

    name: str
    precision: Estimate
    recall: Estimate
    f1: Estimate
    support: int


def confusion(truth: Indices, predicted: Indices, class_count: int) -> Counts:
    """Return the confusion matrix (K, K) of class indices."""
    pairs = truth * class_count + predicted
    return np.bincount(pairs, minlength=class_count**2).reshape(class_count, -1)


def accuracy(counts: Counts) -> Scores:
    """Return the share of cells on the diagonal, (...)."""
    return ratio(_hits(counts).sum(-1), counts.sum((-2, -1)))


def macro_f1(counts: Counts) -> Scores:
    """Return the mean F1 of the classes that occur, as truth or as prediction."""
    occurs = counts.sum(-1) + counts.sum(-2) > 0
    return ratio(f1_scores(counts).sum(-1), occurs.sum(-1))


def weighted_f1(counts: Counts) -> Scores:
    """Return the mean F1 of the classes, each weighted by its cells."""
    support = counts.sum(-1)
    return ratio((f1_scores(counts) * support).sum(-1), support.sum(-1))


def balanced_accuracy(counts: Counts) -> Scores:
    """Return the mean recall of the classes that have cells."""
    return ratio(recalls(counts).sum(-1), (counts.sum(-1) > 0).sum(-1))


def matthews(counts: Counts) -> Scores:
    """Return Matthews' correlation coefficient, 0 where it is undefined.

    For many classes: Gorodkin, Comput. Biol. Chem. 28 (2004) 367.
    """
    true, predicted = counts.sum(-1, dtype=float), counts.sum(-2, dtype=float)
    total, hits = true.sum(-1), _hits(counts).sum(-1)
    covariance = hits * total - (true * predicted).sum(-1)
    spread = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return ratio(covariance, np.sqrt(spread))


def flips(before: Indices, after: Indices) -> float:
    """Return the share of cells whose class has changed."""
    return float((before != after).mean())


def precisions(counts: Counts) -> Scores:
    """Return for each class the share of its predictions that are right, (..., K)."""
    return ratio(_hits(counts), counts.sum(-2))


def recalls(counts: Counts) -> Scores:
    """Return for each class the share of its cells that are found, (..., K)."""
    return ratio(_hits(counts), counts.sum(-1))


def f1_scores(counts: Counts) -> Scores:
    """Return the F1 of each class, 0 where it does not occur, (..., K)."""
    return ratio(2 * _hits(counts), counts.sum(-1) + counts.sum(-2))


SCORES: Mapping[str, Score] = {
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "mcc": matthews,
}


@dataclass(frozen=True)
class Judged:
    """The confusion matrix of N predictions and bootstrap draws of it, (B, K, K)."""

    counts: Counts
    draws: Counts

    def estimate(self, score: Score) -> Estimate:
        """Return `score` with its percentile interval over the draws."""
        return interval(float(score(self.counts)), score(self.draws))

    def scores(self) -> dict[str, Estimate]:
        """Return every overall score."""
        return {name: self.estimate(score) for name, score in SCORES.items()}

    def class_scores(self, class_names: tuple[str, ...]) -> list[ClassScore]:
        """Return a row for each class, in order."""
        columns = [
            [
                interval(*pair)
                for pair in zip(f(self.counts), f(self.draws).T, strict=True)
            ]
            for f in (precisions, recalls, f1_scores)
        ]
        support = self.counts.sum(-1).tolist()
        rows = zip(class_names, *columns, support, strict=True)
        return [ClassScore(*row) for row in rows]


def judge(
    truth: Indices,
    predicted: Indices,
    class_count: int,
    groups: NDArray | None = None,
    *,
    seed: int = 0,
) -> Judged:
    """Return what `predicted` (N,) is worth, with draws for intervals.

    Cells are drawn independently, unless `groups` (N,), such as slides, says which
    belong together: then whole groups are drawn, as cells of a slide err alike.
    """
    counts = confusion(truth, predicted, class_count)
    chance = np.random.default_rng(seed)
    if groups is None:
        shares = counts.ravel() / counts.sum()
        drawn = chance.multinomial(len(truth), shares, DRAWS)
        return Judged(counts, drawn.reshape(DRAWS, class_count, class_count))
    _, number = np.unique(groups, return_inverse=True)
    group_count = number.max() + 1
    cells = number * class_count**2 + truth * class_count + predicted
    shape = (group_count, class_count**2)
    table = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    times = chance.multinomial(
        group_count, np.full(group_count, 1 / group_count), DRAWS
    )
    return Judged(counts, (times @ table).reshape(DRAWS, class_count, class_count))


def resampling_groups(slides: NDArray[np.str_]) -> NDArray[np.str_] | None:
    """Return `slides` where they can be resampled: all known, and at least five."""
    known = len(slides) > 0 and bool((slides != "").all())
    return slides if known and len(np.unique(slides)) >= MIN_GROUPS else None


def interval(value: float, draws: Scores) -> Estimate:
    """Return `value` with the percentile interval of its bootstrap `draws` (B,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def bootstrap(
    statistic: Callable[..., float],
    *columns: NDArray,
    groups: NDArray | None = None,
    draws: int = 500,
    seed: int = 0,
) -> Estimate:
    """Return `statistic(*columns)` with the percentile interval over drawn rows."""
    rows = _drawn_rows(len(columns[0]), groups, draws, np.random.default_rng(seed))
    values = [statistic(*(column[row] for column in columns)) for row in rows]
    return interval(statistic(*columns), np.array(values))


def merge_classes(
    class_names: tuple[str, ...], group_of: Mapping[str, str]
) -> tuple[tuple[str, ...], Indices]:
    """Return the names after merging, and the new index of each class (K,).

    `group_of` names the group of a class; a class that it lacks stays as it is.
    """
    merged = [group_of.get(name, name) for name in class_names]
    names = tuple(dict.fromkeys(merged))
    return names, np.array([names.index(name) for name in merged], dtype=np.int64)


def _drawn_rows(
    count: int, groups: NDArray | None, draws: int, chance: np.random.Generator
) -> Iterator[Indices]:
    if groups is None:
        yield from chance.integers(count, size=(draws, count))
        return
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(sizes)[:-1])
    for chosen in chance.integers(len(members), size=(draws, len(members))):
        yield np.concatenate([members[index] for index in chosen])


def _hits(counts: Counts) -> Counts:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def ratio(part: NDArray, whole: NDArray) -> Scores:
    """Return part / whole, 0 where whole is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
