"""How good a model is on labelled cells, upright and turned, with intervals."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from cellrot_infer.errors import DataError
from cellrot_infer.types import Mask
from cellrot_train.cells import Cells
from cellrot_train.confidence import reliability, risk_coverage
from cellrot_train.evaluation import ClassifierFigures, Evaluation
from cellrot_train.metrics import (
    Estimate,
    bootstrap,
    flips,
    judge,
    resampling_groups,
)
from cellrot_train.probe import BUDGETS
from cellrot_train.protocol import ORIGINAL, TURNED, Protocol, run_protocol, schemes
from cellrot_train.readout import Model, Readout, read_views
from cellrot_train.turning import measure_rotation

ANSWERED = (1.0, 0.9, 0.8, 0.5)  # shares of the cells whose errors are told

Views = Mapping[str, Readout]


def evaluate(
    model: Model,
    cells: Cells,
    *,
    few_labels: bool = True,
    note: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Return every figure of `model` on `cells`; `note` hears what goes on.

    A probe that the cells cannot support is left out, with a note that says why.
    """
    note("reading the cells, upright and turned")
    views = read_views(model, cells)
    upright = views[ORIGINAL]
    probes: dict[str, Protocol] = {}
    notes: list[str] = []
    for name in upright.representations:
        note(f"probing the {name}")
        try:
            budgets = BUDGETS if few_labels else ()
            probes[name] = probe_views(views, name, cells, budgets=budgets)
        except DataError as error:
            notes.append(f"the {name} was not probed: {error}")
    note("turning cells to each angle")
    return Evaluation(
        cells=len(cells),
        class_names=cells.class_names,
        resampled="cells" if resampling_groups(cells.slides) is None else "slides",
        classifier=None if upright.probabilities is None else _judge(views, cells),
        probes=probes,
        rotation=measure_rotation(model, cells, upright),
        notes=tuple(notes),
    )


def probe_views(
    views: Views,
    name: str,
    cells: Cells,
    *,
    budgets: Iterable[int] = BUDGETS,
    counted: Mask | None = None,
) -> Protocol:
    """Return what the vectors called `name` are worth; see `run_protocol`."""
    return run_protocol(
        {view: found.representations[name] for view, found in views.items()},
        cells.labels,
        cells.class_names,
        cells.slides,
        counted=counted,
        budgets=budgets,
    )


def _judge(views: Views, cells: Cells) -> ClassifierFigures:
    """Return what the classifier is worth."""
    upright, groups = views[ORIGINAL], resampling_groups(cells.slides)
    assert upright.probabilities is not None
    predicted, turned = upright.classes(), views[TURNED].classes()
    judged = judge(cells.labels, predicted, len(cells.class_names), groups)
    confidence = upright.probabilities.max(axis=1)
    answers = confidence, predicted == cells.labels
    curve = risk_coverage(*answers)

    def calibration(confidence: np.ndarray, correct: np.ndarray) -> float:
        return reliability(confidence, correct).error

    def area(confidence: np.ndarray, correct: np.ndarray) -> float:
        return risk_coverage(confidence, correct).area

    return ClassifierFigures(
        scores=_scores(views, cells),
        classes=tuple(judged.class_scores(cells.class_names)),
        counts=judged.counts,
        flips=bootstrap(flips, predicted, turned, groups=groups),
        calibration_error=bootstrap(calibration, *answers, groups=groups),
        risk_area=bootstrap(area, *answers, groups=groups),
        errors={f"{share:.0%}": curve.risk_at(share) for share in ANSWERED},
        reliability=reliability(*answers),
        risk_coverage=curve,
    )


def _scores(views: Views, cells: Cells) -> dict[str, dict[str, Estimate]]:
    """Return scores by scheme and view; probabilities of merged classes add up."""
    scores = {}
    groups = resampling_groups(cells.slides)
    for scheme in schemes(cells.labels, cells.class_names):
        member = np.eye(len(scheme.class_names))[scheme.group_of]  # (K, merged K)
        truth = scheme.group_of[cells.labels]
        for view, found in views.items():
            assert found.probabilities is not None
            predicted = (found.probabilities @ member).argmax(axis=1)
            judged = judge(truth, predicted, len(scheme.class_names), groups)
            scores[f"{scheme.name}, {view}"] = judged.scores()
    return scores
