"""Pictures of shipped models on the test cells of PBC, and the targets beside them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import errors, targets
from benchmarks.laboratories import seen
from cellrot_infer.classify import Classifier
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.types import Predictions
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.confidence import reliability, risk_coverage
from cellrot_train.data import load_patch_set
from cellrot_train.figures import draw_confidence, draw_confusion, save
from cellrot_train.metrics import confusion

RESULTS = Path(__file__).parent / "results"
GALLERY = RESULTS / "models"
README = """\
# The shipped models, measured

Written by `python -m benchmarks.models`, of the test cells of PBC. Of each model:
`NAME-confidence.png`, how often it is right when it is how sure, and its errors among
the cells that it is surest of; `NAME-confusion.png`; and `NAME-errors.webp`, the
{worst} errors that it is surest of, with the class of the data above, below its own.
Cells: Acevedo et al., Data in Brief 30 (2020) 105474, CC BY 4.0; made smaller.

## What must be reached
{targets}"""


def write_gallery(models: Sequence[Path], pbc: Path) -> None:
    """Write the pictures of `models` and the README into benchmarks/results/models."""
    make_folder(GALLERY)
    cells, _ = labelled_cells(load_patch_set(pbc), "test")
    for path in models:
        classifier = Classifier.load(path)
        draw(path.stem, seen(classifier, cells, lambda patches: patches), cells)
    text = "\n".join(found_of(models))
    readme = README.format(worst=errors.WORST, targets=text)
    write_text(GALLERY / "README.md", readme)
    print(readme)


def draw(name: str, predictions: Predictions, cells: Cells) -> None:
    """Write the pictures of one model."""
    probabilities, names = predictions.probabilities, cells.class_names
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    correct = predicted == cells.labels
    curves = reliability(confidence, correct), risk_coverage(confidence, correct)
    save(draw_confidence(*curves), GALLERY / f"{name}-confidence.png")
    counts = confusion(cells.labels, predicted, len(names))
    save(draw_confusion(counts, names, name), GALLERY / f"{name}-confusion.png")
    worst = errors.surest_errors(probabilities, cells.labels)
    shown = zip(
        cells.read(worst), cells.labels[worst], probabilities[worst], strict=True
    )
    tiles = [
        errors.tile(patch, names[label], names[row.argmax()], row.max())
        for patch, label, row in shown
    ]
    errors.write_sheet(tiles, GALLERY / f"{name}-errors.webp")


def found_of(models: Sequence[Path]) -> Iterator[str]:
    """Yield the table of each model, then what the files cost."""
    laboratories, edge = measured("laboratories"), measured("edge")
    for path in models:
        found = laboratories.get(path.stem, {})
        yield f"### `{path.stem}`"
        if found.get("sha256") == hashlib.sha256(path.read_bytes()).hexdigest():
            yield targets.table(targets.knowledge(found))
        else:
            yield f"Not measured: `python -m benchmarks.laboratories {path.stem}`\n"
    yield "### Speed and memory, on one thread"
    yield targets.table(targets.speeds(edge, DEFAULT_MODEL))
    if "resident_mib" in edge:
        yield targets.table(targets.residence(edge))
    else:
        yield "Memory is not measured: `python -m benchmarks.edge --resident`\n"


def measured(name: str) -> dict[str, Any]:
    """Return what a benchmark has found."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
