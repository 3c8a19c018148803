"""Every shipped model is what models/README.md says, and does what its card says."""

import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.card import read_model
from cellrot_infer.certificate import certify
from cellrot_infer.classify import Classifier
from cellrot_infer.frames import read_frame
from cellrot_infer.golden import golden_error
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.patches import cut_patches
from cellrot_infer.segment import segment
from cellrot_infer.types import Box, Cell, Frame, Patches
from cellrot_train.data import PatchSet, load_patch_set
from cellrot_train.pixels import load_patches

ROOT = Path(__file__).parents[2]
FIELDS = sorted((ROOT / "tests" / "data" / "frames" / "pbc_fields").glob("*.jpg"))
MODELS = sorted((ROOT / "models").glob("*.onnx"))
README = (ROOT / "models" / "README.md").read_text(encoding="utf-8")

every_model = pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def test_cells() -> tuple[PatchSet, Patches]:
    """Return the sample cells that no training has seen, 8 of each class."""
    patch_set = load_patch_set(ROOT / "tests" / "data" / "patches")
    cells = patch_set.subset(patch_set.indices("test"))
    images = load_patches(cells, "all", 256).permute(0, 2, 3, 1)
    return cells, np.ascontiguousarray(images.numpy())


def test_the_default_model_is_shipped() -> None:
    assert DEFAULT_MODEL in [path.stem for path in MODELS]


@every_model
def test_the_readme_has_the_hash_of_the_file(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    assert f"| `{path.name}` | `{digest}` |" in README


@every_model
def test_the_readme_has_the_figures_of_the_card(path: Path) -> None:
    _, card = read_model(path)
    row = re.search(rf"^\| `{path.stem}` \|.*$", README, re.MULTILINE)

    assert row is not None
    assert f"| {card.metrics['test']['macro_f1'][0]:.3f} (" in row[0]
    assert card.data["credit"] in README


@every_model
def test_golden_cells_get_the_answers_of_the_export(path: Path) -> None:
    assert golden_error(Classifier.load(path)) < 1e-3


@every_model
def test_the_card_promises_no_more_than_the_samples_show(
    path: Path, test_cells: tuple[PatchSet, Patches]
) -> None:
    cells, patches = test_cells
    classifier = Classifier.load(path)

    predicted = classifier.classify(patches).probabilities.argmax(axis=1)

    names = np.array(classifier.card.class_names)[predicted]
    right = np.mean([r.label == n for r, n in zip(cells.records, names, strict=True)])
    recalls = np.array(classifier.card.metrics["test"]["confusion"], float)
    balanced = np.mean(recalls.diagonal() / recalls.sum(axis=1))
    spread = np.sqrt(balanced * (1 - balanced) / len(cells))
    assert right > balanced - 3 * spread


@pytest.fixture(scope="module")
def no_white_cells() -> Patches:
    """Return patches of real fields with glass or a red cell in the middle."""
    return np.concatenate([cut_patches(*beside_cells(path), 0.1) for path in FIELDS])


def beside_cells(path: Path) -> tuple[Frame, list[Cell]]:
    """Return a field, and places in it that are no white cell."""
    frame = read_frame(path, pixel_size_um=0.1)
    height, width = frame.pixels.shape[:2]
    middles = [cell.centre_px for cell in segment(frame)]
    places = itertools.product(range(60, width - 59, 40), range(60, height - 59, 40))
    return frame, [
        Cell(Box(*place, 1, 1), (), (), 0.0, 0.0, touches_border=False, quality=0.0)
        for place in places
        if all(np.hypot(*np.subtract(place, middle)) > 110 for middle in middles)
    ]


@every_model
def test_what_is_no_white_cell_is_unknown(path: Path, no_white_cells: Patches) -> None:
    classifier = Classifier.load(path)

    novelty = classifier.classify(no_white_cells).novelty

    assert (novelty > classifier.card.thresholds.novelty).mean() > 0.87


@every_model
def test_a_quarter_turn_changes_no_answer(
    path: Path, test_cells: tuple[PatchSet, Patches]
) -> None:
    classifier = Classifier.load(path)
    if not classifier.card.encoder.startswith("hnet"):
        pytest.skip("only harmonic networks promise it")

    certificate = certify(classifier.classify, test_cells[1], angles_deg=())

    assert certificate["quarter_turn_embedding"] < 1e-5
    assert certificate["quarter_turn_max_abs"] < 1e-5
