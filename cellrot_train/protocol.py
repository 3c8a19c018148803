"""The evaluation protocol: one table that says what frozen features are worth.

Fixed, so that figures of different encoders compare: see `probe` for folds and
readers. All classes, and those of BloodMNIST where they can be merged; images as they
are, and randomly turned.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cellrot_infer.errors import DataError
from cellrot_infer.types import Floats, Mask
from cellrot_train.metrics import (
    EIGHT_CLASSES,
    SCORES,
    Estimate,
    Indices,
    Scores,
    bootstrap,
    confusion,
    flips,
    interval,
    judge,
    macro_f1,
    merge_classes,
    resampling_groups,
)
from cellrot_train.probe import (
    BUDGETS,
    FOLDS,
    READERS,
    Reader,
    assign_folds,
    few_label_runs,
    fit_probe,
)

View = str  # how the images were shown: original, turned
ORIGINAL, TURNED = "original", "turned"


class Scheme(NamedTuple):
    """A way to name the classes: `group_of` (K,) says which of them a class becomes."""

    name: str
    class_names: tuple[str, ...]
    group_of: Indices


class Task(NamedTuple):
    """Cells to tell apart: labels (N,) of a scheme, folds, and groups to resample.

    Only the cells `counted` (N,) are scored; the others only teach.
    """

    scheme: Scheme
    labels: Indices
    fold: Indices
    counted: Mask
    groups: NDArray[np.str_] | None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `labels_per_class` is 0 where all labels of the other folds were used: then
    intervals are over cells or slides, and `values` are the macro-F1 of the folds.
    Else both are over draws of labels. `flips` is the share of cells whose class
    changes when they turn.
    """

    scheme: str
    reader: Reader
    labels_per_class: int
    view: View
    scores: Mapping[str, Estimate]
    values: tuple[float, ...]
    flips: Estimate | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the row that `values` say, as `to_plain` gives them."""
        scores = {name: Estimate(*found) for name, found in values["scores"].items()}
        flips = values["flips"] and Estimate(*values["flips"])
        changed = {"scores": scores, "values": tuple(values["values"]), "flips": flips}
        return cls(**{**values, **changed})


@dataclass(frozen=True)
class Protocol:
    """The table, and what it is about.

    `cells` are those that were scored; `left_out` names classes with too few labelled
    cells for five folds; `resampled` says what the intervals are over, cells or slides.
    """

    rows: tuple[Row, ...]
    cells: int
    left_out: tuple[str, ...]
    resampled: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the table that `values` say, as `to_plain` gives them."""
        rows = tuple(Row.from_dict(row) for row in values["rows"])
        left_out = tuple(values["left_out"])
        return cls(rows, values["cells"], left_out, values["resampled"])

    def row(self, scheme: str, reader: Reader, labels: int, view: View) -> Row:
        """Return the one row of that name; raise KeyError where there is none."""
        key = (scheme, reader, labels, view)
        for row in self.rows:
            if (row.scheme, row.reader, row.labels_per_class, row.view) == key:
                return row
        raise KeyError(key)


def run_protocol(
    views: Mapping[View, Floats],
    labels: Indices,
    class_names: tuple[str, ...],
    slides: NDArray[np.str_] | None = None,
    *,
    counted: Mask | None = None,
    budgets: Iterable[int] = BUDGETS,
) -> Protocol:
    """Return the table of features (N, F): `original`, and other views of the cells.

    Readers learn from the originals and are asked about every view. Cells without a
    label (-1) take no part; those not `counted` (N,) teach and are not scored. Raises
    DataError where folds are impossible.
    """
    kept, rare = enough_cells(labels, len(class_names))
    views = {view: features[kept] for view, features in views.items()}
    slides = None if slides is None else slides[kept]
    scored = np.ones(len(kept), bool)[kept] if counted is None else counted[kept]
    fold = assign_folds(labels[kept], slides)
    groups = None if slides is None else resampling_groups(slides[scored])
    rows: list[Row] = []
    for scheme in schemes(labels[kept], class_names):
        task = Task(scheme, scheme.group_of[labels[kept]], fold, scored, groups)
        for reader in READERS:
            rows += _with_all_labels(views, task, reader)
        for per_class in budgets:
            rows += _with_few_labels(views, task, per_class)
    left_out = tuple(class_names[index] for index in rare)
    resampled = "cells" if groups is None else "slides"
    return Protocol(tuple(rows), int(scored.sum()), left_out, resampled)


def enough_cells(labels: Indices, class_count: int) -> tuple[Mask, Indices]:
    """Return which cells are of a class that has a cell a fold, and the other classes.

    Raises DataError where no class has so many.
    """
    counts = np.bincount(labels[labels >= 0], minlength=class_count)
    kept = (labels >= 0) & (counts[labels] >= FOLDS)
    if not kept.any():
        raise DataError(f"no class has {FOLDS} labelled cells, as a probe needs")
    return kept, np.flatnonzero(counts < FOLDS)


def schemes(labels: Indices, class_names: tuple[str, ...]) -> Iterator[Scheme]:
    """Yield all classes, then BloodMNIST's where that merges some that occur."""
    names, index = merge_classes(class_names, EIGHT_CLASSES)
    count, merged_count = len(np.unique(labels)), len(np.unique(index[labels]))
    yield Scheme(f"{count} classes", class_names, np.arange(len(class_names)))
    if merged_count < count:
        yield Scheme(f"{merged_count} classes", names, index)


def _with_all_labels(
    views: Mapping[View, Floats], task: Task, reader: Reader
) -> Iterator[Row]:
    scheme, labels, fold, counted, groups = task
    count = len(scheme.class_names)
    probe = fit_probe(reader, views[ORIGINAL], labels, fold)
    labels, fold = labels[counted], fold[counted]
    upright = probe.predict(views[ORIGINAL])[counted]
    for view, features in views.items():
        predicted = probe.predict(features)[counted]
        scores = judge(labels, predicted, count, groups).scores()
        parts = (fold == number for number in np.unique(fold))
        values = tuple(
            _macro_f1(labels[part], predicted[part], count) for part in parts
        )
        changed = bootstrap(flips, upright, predicted, groups=groups)
        turned = None if view == ORIGINAL else changed
        yield Row(scheme.name, reader, 0, view, scores, values, turned)


def _with_few_labels(
    views: Mapping[View, Floats], task: Task, per_class: int
) -> Iterator[Row]:
    scheme, labels, fold, counted, _ = task
    upright = views[ORIGINAL]
    runs = few_label_runs(upright, labels, fold, per_class)
    runs = [replace(run, rows=run.rows[counted[run.rows]]) for run in runs]
    for view, features in views.items() if runs else ():
        predicted = [run.predict(features) for run in runs]
        draws = [
            confusion(labels[run.rows], found, len(scheme.class_names))
            for run, found in zip(runs, predicted, strict=True)
        ]
        scores = {
            name: _over_draws(score(np.stack(draws))) for name, score in SCORES.items()
        }
        changed = [
            flips(run.predict(upright), found)
            for run, found in zip(runs, predicted, strict=True)
        ]
        turned = None if view == ORIGINAL else _over_draws(np.array(changed))
        values = tuple(macro_f1(np.stack(draws)).tolist())
        yield Row(
            scheme.name, "logistic regression", per_class, view, scores, values, turned
        )


def _over_draws(values: Scores) -> Estimate:
    """Return the mean over draws of labels, and between which 95 % of them lie."""
    return interval(values.mean(), values)


def _macro_f1(truth: Indices, predicted: Indices, count: int) -> float:
    return float(macro_f1(confusion(truth, predicted, count)))
