"""How much a model knows at home, and how much is left in laboratories it never saw.

    python -m benchmarks.laboratories [MODEL ...] [--data ../shared/data] [--cells 0]

At home: the test split of PBC, upright and turned by random angles, eight times, since
one draw alone is off by a third of a point. Elsewhere: the same cells as eight
laboratories would show them (`benchmarks.looks`), and the white cells of BCCD, cut out
by their boxes, of which the type is known for the frames with one cell. Those have a
frame, so that they are seen in the model's colours and have a size, as in
`cellrot-infer slide`; what the patches alone say is given, too.
And patches of PBC's own fields with a red cell or the edge of a white cell in the
middle, for which no class is right.
Writes benchmarks/results/laboratories.json, where other models keep their figures.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.labelled import Labelled, read_labelled
from benchmarks.looks import LOOKS
from cellrot_infer.card import ModelCard
from cellrot_infer.certificate import turn
from cellrot_infer.classify import Classifier, gathered
from cellrot_infer.decision import Verdict, decide
from cellrot_infer.field import Field
from cellrot_infer.files import write_text
from cellrot_infer.patches import cut_patches
from cellrot_infer.quality import find_focus
from cellrot_infer.restain import as_at_home, unlikeness
from cellrot_infer.segment import segment_field
from cellrot_infer.stain import find_glass
from cellrot_infer.types import Box, Cell, Decision, Patches, Predictions
from cellrot_train import metrics
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.confidence import reliability, risk_coverage
from cellrot_train.data import load_patch_set

RESULTS = Path(__file__).parent / "results" / "laboratories.json"
BCCD_TYPES = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
DECISIONS: tuple[Decision, ...] = ("accepted", "uncertain", "unknown")
INSIDE_PX, APART_PX = 80, 90  # from the border, and from the white cell of the field
DRAWS = 8  # of angles
Change = Callable[[Patches], Patches]


def main() -> None:
    """Measure the models and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["hnet-r2"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cells", type=int, default=0, help="Of the test split, 0 all")
    options = parser.parse_args()
    if not (options.data / "pbc").is_dir():
        sys.exit(f"skipped: {options.data / 'pbc'} is not here")
    cells, _ = labelled_cells(load_patch_set(options.data / "pbc"), "test")
    if options.cells:
        cells = cells.at(np.arange(len(cells))[:: len(cells) // options.cells])
    found = {name: measured(name, cells, options.data) for name in options.models}
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    write_text(RESULTS, json.dumps({**known, **found}, indent=1) + "\n")


def measured(name: str, cells: Cells, data: Path) -> dict[str, Any]:
    """Return the figures of one model, and print them as they come."""
    classifier = Classifier.load(name)
    home = judged(classifier, seen(classifier, cells, lambda patches: patches), cells)
    figures: dict[str, Any] = {"sha256": classifier.sha256, "home": home}
    show(f"{name} home", home)
    figures["turned"] = turned(classifier, cells)
    print("turned at random {:.4f} ({:.4f} to {:.4f})".format(*figures["turned"]))
    figures["looks"] = {}
    for look, change in LOOKS.items():
        figures["looks"][look] = judged(
            classifier, seen(classifier, cells, change), cells
        )
        show(look, figures["looks"][look])
    scores = [entry["macro_f1"][0] for entry in figures["looks"].values()]
    figures["worst look over home"] = min(scores) / home["macro_f1"][0]
    figures["bccd"] = elsewhere(classifier, data)
    figures["no white cell"] = strangers(classifier, data)
    print(f"worst look over home {figures['worst look over home']:.3f}")
    print(f"BCCD {figures['bccd']}")
    print(f"no white cell {figures['no white cell']}")
    return figures


def show(name: str, figures: dict[str, Any]) -> None:
    """Print one line."""
    print(
        f"{name:22} macro-F1 {figures['macro_f1'][0]:.3f}  "
        f"8 classes {figures['accuracy_8'][0]:.3f}  "
        f"accepted {figures['accepted']:.3f} at {figures['accepted_accuracy']:.3f}  "
        f"unknown {figures['unknown']:.3f}  ECE {figures['calibration_error']:.3f}",
        flush=True,
    )


def turned(classifier: Classifier, cells: Cells) -> list[float]:
    """Return the macro-F1 of turned cells: mean, least and most of several draws."""
    scores = []
    for draw in range(DRAWS):
        predictions = seen(classifier, cells, turned_at_random(draw))
        predicted = predictions.probabilities.argmax(axis=1)
        counts = metrics.confusion(cells.labels, predicted, len(cells.class_names))
        scores.append(float(metrics.macro_f1(counts)))
    return [float(np.mean(scores)), min(scores), max(scores)]


def turned_at_random(draw: int) -> Change:
    """Return what turns each patch by an angle of its own, the same for each `draw`."""
    chance = np.random.default_rng(draw)

    def change(patches: Patches) -> Patches:
        angles = chance.uniform(0, 360, len(patches))
        pairs = zip(patches, angles, strict=True)
        return np.concatenate([turn(patch[None], angle) for patch, angle in pairs])

    return change


def seen(classifier: Classifier, cells: Cells, change: Change) -> Predictions:
    """Return what `classifier` makes of the changed cells."""
    parts = [classifier.classify(change(patches)) for _, patches in cells.parts()]
    return gathered(parts, range(len(cells)))


def judged(
    classifier: Classifier, predictions: Predictions, cells: Cells
) -> dict[str, Any]:
    """Return the figures of one look at `cells`."""
    names = classifier.card.class_names
    predicted = predictions.probabilities.argmax(axis=1)
    correct = predicted == cells.labels
    eleven = metrics.judge(cells.labels, predicted, len(names))
    merged, place = metrics.merge_classes(names, metrics.EIGHT_CLASSES)
    eight = metrics.judge(place[cells.labels], place[predicted], len(merged))
    no_area = [0.0] * len(cells)
    verdicts = decide(predictions, classifier.card, no_area)
    decisions = [verdict.decision for verdict in verdicts]
    accepted = np.array([decision == "accepted" for decision in decisions])
    confidence = predictions.probabilities.max(axis=1)
    curve = risk_coverage(confidence, correct)
    return {
        "cells": len(cells),
        "macro_f1": list(eleven.estimate(metrics.macro_f1)),
        "accuracy": list(eleven.estimate(metrics.accuracy)),
        "accuracy_8": list(eight.estimate(metrics.accuracy)),
        "calibration_error": reliability(confidence, correct).error,
        "accepted": float(accepted.mean()),
        "accepted_accuracy": float(correct[accepted].mean()) if accepted.any() else 0.0,
        "unknown": decisions.count("unknown") / len(decisions),
        "error_at_coverage": {str(c): curve.risk_at(c) for c in (0.5, 0.8, 0.9, 0.95)},
    }


def elsewhere(classifier: Classifier, data: Path) -> dict[str, Any]:
    """Return what `classifier` makes of the typed white cells of BCCD."""
    card = classifier.card
    cells = bccd_cells(data, card)
    predictions = classifier.classify(cells.seen)
    verdicts = [
        decide(gathered([predictions], [k]), card, [area], at_home=home)[0]
        for k, (area, home) in enumerate(
            zip(cells.areas_um2, cells.at_home, strict=True)
        )
    ]
    raw = decide(classifier.classify(cells.raw), card, [0.0] * len(cells.truth))
    truth, predicted = cells.truth, types_of(verdicts)
    recalls = {t: float((predicted[truth == t] == t).mean()) for t in BCCD_TYPES}
    alone = [float((types_of(raw)[truth == t] == t).mean()) for t in BCCD_TYPES]
    decisions = [verdict.decision for verdict in verdicts]
    accepted = np.array([decision == "accepted" for decision in decisions])
    right = predicted == truth
    return {
        "cells": len(truth),
        "balanced_accuracy": float(np.mean(list(recalls.values()))),
        "of_patches_alone": float(np.mean(alone)),
        "recalls": recalls,
        "accepted": float(accepted.mean()),
        "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        "unknown": decisions.count("unknown") / len(decisions),
    }


def strangers(classifier: Classifier, data: Path) -> dict[str, dict[str, float]]:
    """Return what `classifier` makes of patches of its own laboratory without a cell.

    They show a red cell in the middle, or the edge of a white cell. Novelty was chosen
    on every third field; these are of the others.
    """
    shown: dict[str, list[Patches]] = defaultdict(list)
    for number, entry in enumerate(read_labelled(data, "pbc_fields")):
        if number % 3 and len(entry.white_cells) == 1:
            frame, size_um = entry.frame, classifier.card.pixel_size_um
            light = find_glass(frame.pixels).light
            for name, middle in strange_places(entry):
                cell = boxed(Box(*middle, 1, 1), frame.pixel_size_um)
                shown[name].append(cut_patches(frame, [cell], size_um, light))
    found = {}
    for name, patches in shown.items():
        predictions = classifier.classify(np.concatenate(patches))
        verdicts = decide(predictions, classifier.card, [0.0] * len(patches))
        decisions = [verdict.decision for verdict in verdicts]
        found[name] = {"patches": float(len(decisions))}
        for each in DECISIONS:
            found[name][each] = decisions.count(each) / len(decisions)
    return found


def strange_places(entry: Labelled) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield pixels of a field at which a patch has no white cell in its middle."""
    height, width = entry.frame.pixels.shape[:2]
    (white_cell,) = entry.white_cells
    x_px, y_px = middle_of(white_cell)
    for box in entry.red_cells:
        right, below = middle_of(box)
        inside = min(right, below, width - right, height - below) > INSIDE_PX
        if inside and np.hypot(right - x_px, below - y_px) > APART_PX:
            yield "red cell", (right, below)
    side = white_cell.width_px // 2
    yield "edge of a cell", (x_px + (side if x_px < width / 2 else -side), y_px)


def middle_of(box: Box) -> tuple[int, int]:
    """Return the pixel in the middle of `box`."""
    return box.x_px + box.width_px // 2, box.y_px + box.height_px // 2


def types_of(verdicts: Sequence[Verdict]) -> np.ndarray:
    """Return which of BCCD's types each label is."""
    labels = [verdict.label for verdict in verdicts]
    return np.array(["neutrophil" if "neutrophil" in name else name for name in labels])


class Elsewhere(NamedTuple):
    """Cells of another laboratory: patches as they are and as a model sees them."""

    raw: Patches
    seen: Patches
    areas_um2: list[float]
    at_home: list[bool]
    truth: np.ndarray


def bccd_cells(data: Path, card: ModelCard) -> Elsewhere:
    """Return the cells of BCCD's frames with one white cell of the four types."""
    kinds: dict[str, str] = defaultdict(str)
    table = data / "frames" / "bccd" / "wbc_types.csv"
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kinds[Path(row["frame"]).name] = row["wbc_types"]
    raw, seen, areas, homes, truth = [], [], [], [], []
    for entry in read_labelled(data, "bccd"):
        kind, frame = kinds[Path(entry.frame.name).name], entry.frame
        if kind in BCCD_TYPES and len(entry.white_cells) == 1:
            cell = boxed(entry.white_cells[0], frame.pixel_size_um)
            field = Field.of(frame)
            _, colours = segment_field(field)
            light, focus = field.glass.light, find_focus(field.density)
            raw.append(cut_patches(frame, [cell], card.pixel_size_um, light))
            seen.append(as_at_home(raw[-1], light, colours, focus, card))
            areas.append(cell.area_um2)
            homes.append(unlikeness(colours, card.stain) < 1)
            truth.append(kind)
    return Elsewhere(
        np.concatenate(raw), np.concatenate(seen), areas, homes, np.array(truth)
    )


def boxed(box: Box, pixel_size_um: float) -> Cell:
    """Return a cell of which only the box is known: an ellipse."""
    area_um2 = np.pi / 4 * box.width_px * box.height_px * pixel_size_um**2
    return Cell(box, (), (), area_um2, 0.0, touches_border=False, quality=0.0)


if __name__ == "__main__":
    main()
