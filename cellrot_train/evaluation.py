"""An evaluation: what was measured, as plain values and as pictures."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure

from cellrot_infer.files import make_folder, write_text
from cellrot_train import figures
from cellrot_train.confidence import Reliability, RiskCoverage
from cellrot_train.metrics import ClassScore, Counts, Estimate
from cellrot_train.protocol import Protocol


@dataclass(frozen=True)
class ClassifierFigures:
    """What the model's own classifier is worth.

    `scores` by scheme and view, such as `11 classes, turned`; `flips` between upright
    and randomly turned cells; `errors` among the most confident share of the cells.
    """

    scores: Mapping[str, Mapping[str, Estimate]]
    classes: tuple[ClassScore, ...]
    counts: Counts
    flips: Estimate
    calibration_error: Estimate
    risk_area: Estimate
    errors: Mapping[str, float]
    reliability: Reliability
    risk_coverage: RiskCoverage


@dataclass(frozen=True)
class RotationCurves:
    """What changes at each angle, on `cells` cells.

    `flips` is the share of cells whose class is not that of the upright cell, as
    `reader` sees it; `spread`, of each representation, see `certificate.spread`.
    """

    cells: int
    reader: str
    angles_deg: tuple[int, ...]
    flips: tuple[Estimate, ...]
    macro_f1: tuple[Estimate, ...]
    spread: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the curves that `values` say, as `to_plain` gives them."""
        return cls(
            cells=values["cells"],
            reader=values["reader"],
            angles_deg=tuple(values["angles_deg"]),
            flips=tuple(Estimate(*found) for found in values["flips"]),
            macro_f1=tuple(Estimate(*found) for found in values["macro_f1"]),
            spread={name: tuple(found) for name, found in values["spread"].items()},
        )


@dataclass(frozen=True)
class Evaluation:
    """All figures of a model on one set of cells.

    `resampled` says what intervals of the classifier are over, cells or slides; `notes`
    what could not be measured, and why.
    """

    cells: int
    class_names: tuple[str, ...]
    resampled: str
    classifier: ClassifierFigures | None
    probes: Mapping[str, Protocol]
    rotation: RotationCurves
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an estimate is [value, low, high]."""
        values: dict[str, Any] = to_plain(self)
        return values


def write_evaluation(
    evaluation: Evaluation, folder: Path, about: Mapping[str, Any]
) -> None:
    """Write evaluation.json, with `about` first, and the pictures into `folder`."""
    make_folder(folder)
    found = evaluation.classifier
    if found is not None:
        drawn = figures.draw_confusion(found.counts, evaluation.class_names)
        figures.save(drawn, folder / "confusion.png")
        drawn = figures.draw_confidence(found.reliability, found.risk_coverage)
        figures.save(drawn, folder / "confidence.png")
    figures.save(draw_curves(evaluation.rotation), folder / "rotation.png")
    values = {**about, **evaluation.to_dict()}
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "evaluation.json", text + "\n")


def draw_curves(rotation: RotationCurves) -> Figure:
    """Return what changes with the angle, as curves over the full circle."""
    angles = (0, *rotation.angles_deg, 360)
    panels: dict[str, dict[str, figures.Curve]] = {}
    if rotation.flips:
        panels["flips (share of cells)"] = {
            rotation.reader: _around(angles, rotation.flips)
        }
        panels["macro-F1"] = {rotation.reader: _around(angles, rotation.macro_f1)}
    panels["spread of the embedding"] = {
        name: figures.Curve(angles, (0.0, *values, 0.0))
        for name, values in rotation.spread.items()
    }
    return figures.draw_rotation(panels)


def _around(angles: tuple[int, ...], found: tuple[Estimate, ...]) -> figures.Curve:
    """Return a curve that ends as it begins; `found` begins with the upright cells."""
    closed = (*found, found[0])
    return figures.Curve(angles, [entry.value for entry in closed], closed)


def to_plain(value: object) -> Any:  # noqa: ANN401
    """Return `value` as JSON can hold it; named tuples and arrays become lists."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, ClassScore):
        return to_plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        names = (entry.name for entry in dataclasses.fields(value))
        return {name: to_plain(getattr(value, name)) for name in names}
    return value
