"""An evaluation tells an invariant model from another, and says what it cannot say."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.images import read_image
from cellrot_infer.types import Floats, Patches
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.data import load_patch_set
from cellrot_train.evaluate import _scores, evaluate
from cellrot_train.evaluation import Evaluation, write_evaluation
from cellrot_train.readout import Model, Readout, read_views
from cellrot_train.turning import ANGLES_DEG

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
NAMES = ("band_neutrophil", "platelet", "segmented_neutrophil")
AFTER_QUARTER_TURNS = [ANGLES_DEG.index(angle) for angle in (90, 180, 270)]


def real_cells(per_class: int = 12) -> Cells:
    paths = [
        p for name in NAMES for p in sorted((SAMPLES / name).iterdir())[:per_class]
    ]
    patches = np.stack([read_image(path.read_bytes(), path.name) for path in paths])
    labels = np.array([NAMES.index(path.parent.name) for path in paths])
    slides = np.full(len(labels), "", dtype=np.str_)
    return Cells(lambda rows: patches[rows], labels, NAMES, slides)


def mean_of_disc(patches: Patches) -> Floats:
    along = np.arange(256) - 127.5
    disc = np.hypot(along[:, None], along) < 60
    return patches[:, disc].mean(axis=1, dtype=np.float64).astype("f4")


def mean_of_right_side(patches: Patches) -> Floats:
    return patches[:, 96:160, 160:].mean(axis=(1, 2), dtype=np.float64).astype("f4")


def model_of(look: Callable[[Patches], Floats], *, classifier: bool = True) -> Model:
    """Return a model that embeds by `look` and calls dark cells neutrophils."""

    def read(patches: Patches) -> Readout:
        vectors = look(patches)
        score = np.clip((vectors[:, 1] - 150) / 20, -9, 9)
        pale = 1 / (1 + np.exp(-score))
        shares = np.stack([0.4 * (1 - pale), pale, 0.6 * (1 - pale)], axis=1)
        found = shares.astype("f4") if classifier else None
        return Readout({"embedding": vectors}, found)

    return read


@pytest.fixture(scope="module")
def invariant() -> Evaluation:
    return evaluate(model_of(mean_of_disc), real_cells(), few_labels=False)


@pytest.fixture(scope="module")
def fickle() -> Evaluation:
    return evaluate(model_of(mean_of_right_side), real_cells(), few_labels=False)


def test_an_invariant_model_is_told_from_another(
    invariant: Evaluation, fickle: Evaluation
) -> None:
    assert max(invariant.rotation.spread["embedding"]) < 0.02
    assert max(flip.value for flip in invariant.rotation.flips) < 0.05
    assert min(fickle.rotation.spread["embedding"]) > 0.2
    assert max(flip.value for flip in fickle.rotation.flips) > 0.05
    assert fickle.classifier is not None
    assert fickle.classifier.flips.value > 0.05


def test_quarter_turns_are_exact(invariant: Evaluation) -> None:
    spreads = invariant.rotation.spread["embedding"]

    assert max(spreads[place] for place in AFTER_QUARTER_TURNS) < 1e-6


def test_curves_begin_with_the_upright_cells(invariant: Evaluation) -> None:
    rotation = invariant.rotation

    assert rotation.flips[0] == (0, 0, 0)
    assert len(rotation.flips) == len(rotation.macro_f1) == len(ANGLES_DEG) + 1
    assert invariant.classifier is not None
    upright = invariant.classifier.scores["3 classes, original"]["macro_f1"]
    assert rotation.macro_f1[0].value == pytest.approx(upright.value)


def test_merged_classes_add_their_probabilities() -> None:
    cells = real_cells()
    undecided = np.tile(np.array([0.3, 0.4, 0.3], "f4"), (len(cells), 1))

    scores = _scores({"original": Readout({}, undecided)}, cells)

    # all are platelets, a third; merged, all are neutrophils, two thirds
    three = scores["3 classes, original"]["accuracy"].value
    two = scores["2 classes, original"]["accuracy"].value
    assert (three, two) == pytest.approx((1 / 3, 2 / 3))


def test_the_rows_of_the_classes_are_those_of_the_matrix(
    invariant: Evaluation,
) -> None:
    assert invariant.classifier is not None
    counts = invariant.classifier.counts

    assert counts.sum() == invariant.cells == 36
    for number, row in enumerate(invariant.classifier.classes):
        assert row.support == 12
        assert row.recall.value == pytest.approx(counts[number, number] / 12)


def test_without_a_classifier_a_probe_tells_the_classes() -> None:
    model = model_of(mean_of_disc, classifier=False)

    found = evaluate(model, real_cells(), few_labels=False)

    assert found.classifier is None
    assert found.rotation.reader == "logistic regression of the embedding"
    assert found.rotation.macro_f1[0].value > 0.5
    assert found.notes == ()


def test_what_cannot_be_probed_is_left_out_with_a_note() -> None:
    cells = real_cells(per_class=4)

    found = evaluate(model_of(mean_of_disc), cells)
    bare = evaluate(model_of(mean_of_disc, classifier=False), cells)

    assert found.probes == {}
    assert found.notes == (
        "the embedding was not probed: no class has 5 labelled cells, as a probe needs",
    )
    assert found.classifier is not None
    assert bare.rotation.flips == ()
    assert len(bare.rotation.spread["embedding"]) == len(ANGLES_DEG)


def test_slides_are_resampled_where_they_are_known() -> None:
    cells = real_cells()
    slides = np.array([f"slide {number % 6}" for number in range(len(cells))])
    known = Cells(cells.read, cells.labels, cells.class_names, slides)

    found = evaluate(model_of(mean_of_disc), known, few_labels=False)

    assert found.resampled == "slides"
    assert found.probes["embedding"].resampled == "slides"


def test_the_same_seed_gives_the_same_evaluation(invariant: Evaluation) -> None:
    again = evaluate(model_of(mean_of_disc), real_cells(), few_labels=False)

    assert again.to_dict() == invariant.to_dict()


def test_what_goes_on_is_told() -> None:
    heard: list[str] = []

    evaluate(model_of(mean_of_disc), real_cells(4), few_labels=False, note=heard.append)

    assert heard[0].startswith("reading the cells")
    assert "probing the embedding" in heard


def test_the_files_hold_the_figures(invariant: Evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung 1"

    write_evaluation(invariant, folder, {"model": {"name": "x"}})

    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert found["model"] == {"name": "x"}
    assert found["cells"] == 36
    value, low, high = found["classifier"]["scores"]["3 classes, turned"]["macro_f1"]
    assert low <= value <= high
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json",
        "confusion.png",
        "confidence.png",
        "rotation.png",
    }


def test_every_cell_is_read_in_its_place() -> None:
    cells = real_cells()

    views = read_views(model_of(mean_of_disc), cells)
    expected = mean_of_disc(cells.read(np.arange(len(cells))))

    np.testing.assert_allclose(views["original"].representations["embedding"], expected)
    turned = views["turned"].representations["embedding"]
    assert 0 < np.abs(turned - expected).max() < 5


def test_cells_of_a_split_are_read_at_full_size() -> None:
    patch_set = load_patch_set(SAMPLES)

    cells, notes = labelled_cells(patch_set, "val")

    assert notes == ()
    assert len(cells) == 66
    record = patch_set.records[patch_set.indices("val")[7]]
    expected = read_image(record.file.read_bytes(), record.name)
    np.testing.assert_array_equal(cells.read(np.array([7]))[0], expected)
    assert cells.class_names[cells.labels[7]] == record.label


def test_cells_keep_their_places_in_a_part() -> None:
    cells, _ = labelled_cells(load_patch_set(SAMPLES), "val")

    part = cells.at(np.array([5, 9, 30])).at(np.array([2, 0]))

    np.testing.assert_array_equal(part.labels, cells.labels[[30, 5]])
    np.testing.assert_array_equal(
        part.read(np.array([0, 1])), cells.read(np.array([30, 5]))
    )


def test_a_split_without_labelled_cells_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(
        "path,label,split\na.webp,,test\nb.webp,blast,train\n", encoding="utf-8"
    )
    for name, source in (("a", "basophil"), ("b", "platelet")):
        sample = next((SAMPLES / source).iterdir())
        (tmp_path / f"{name}.webp").write_bytes(sample.read_bytes())

    with pytest.raises(DataError, match="no labelled cells in the split 'test'"):
        labelled_cells(load_patch_set(tmp_path), "test")
