"""What changes in a model's answers as cells turn, angle by angle."""

from collections.abc import Callable

import numpy as np

from cellrot_infer.certificate import spread, turn
from cellrot_infer.errors import DataError
from cellrot_train.cells import Cells
from cellrot_train.evaluation import RotationCurves
from cellrot_train.metrics import (
    Indices,
    bootstrap,
    flips,
    judge,
    macro_f1,
    resampling_groups,
)
from cellrot_train.probe import assign_folds, fit_probe
from cellrot_train.protocol import enough_cells
from cellrot_train.readout import Model, Readout, read_upright

ANGLES_DEG = tuple(range(15, 360, 15))
CURVE_CELLS = 500  # that are turned to each of the angles

Reader = Callable[[Readout, Indices], Indices]  # of the cells at positions


def measure_rotation(
    model: Model, cells: Cells, upright: Readout, *, seed: int = 0
) -> RotationCurves:
    """Return what changes when some of `cells` turn; `upright` is of all of them.

    Classes are the classifier's, or those of a probe where the model has none. Where no
    probe can be had, there are no flips.
    """
    if upright.probabilities is None:
        cells, upright = _of_common_classes(cells, upright)
    chosen = np.random.default_rng(seed).permutation(len(cells))[:CURVE_CELLS]
    rows = np.sort(chosen)
    some = cells.at(rows)
    patches = some.read(np.arange(len(rows)))
    found = [upright.at(rows)]
    found += [read_upright(model, turn(patches, angle)) for angle in ANGLES_DEG]
    name, reader = _reader(upright, cells, seed)
    classes = [] if reader is None else [reader(readout, rows) for readout in found]
    groups = resampling_groups(some.slides)
    judged = [judge(some.labels, c, len(cells.class_names), groups) for c in classes]
    return RotationCurves(
        cells=len(rows),
        reader=name,
        angles_deg=ANGLES_DEG,
        flips=tuple(bootstrap(flips, classes[0], c, groups=groups) for c in classes),
        macro_f1=tuple(angle.estimate(macro_f1) for angle in judged),
        spread={
            name: tuple(spread(one.representations[name], start) for one in found[1:])
            for name, start in found[0].representations.items()
        },
    )


def _of_common_classes(cells: Cells, upright: Readout) -> tuple[Cells, Readout]:
    """Return the cells whose classes a probe can learn; all where it can learn none."""
    try:
        kept, _ = enough_cells(cells.labels, len(cells.class_names))
    except DataError:
        return cells, upright
    rows = np.flatnonzero(kept)
    return cells.at(rows), upright.at(rows)


def _reader(upright: Readout, cells: Cells, seed: int) -> tuple[str, Reader | None]:
    """Return what tells the classes, with its name; None where nothing can."""
    if upright.probabilities is not None:
        return "classifier", lambda readout, _: readout.classes()
    name, vectors = list(upright.representations.items())[-1]
    try:
        fold = assign_folds(cells.labels, cells.slides, seed=seed)
        probe = fit_probe("logistic regression", vectors, cells.labels, fold)
    except DataError:
        return "", None

    def read(readout: Readout, rows: Indices) -> Indices:
        return probe.predict(readout.representations[name], rows)

    return f"logistic regression of the {name}", read
