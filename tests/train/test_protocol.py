"""The table is complete, repeatable, and says when it cannot say."""

import json

import numpy as np
import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.types import Floats
from cellrot_train.evaluation import to_plain
from cellrot_train.metrics import Indices
from cellrot_train.protocol import Protocol, run_protocol

NAMES = ("band_neutrophil", "basophil", "blast", "segmented_neutrophil")


def cells(seed: int = 0) -> tuple[Floats, Indices]:
    """Return features (160, 6); band and segmented neutrophils look alike."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 40)
    centres = np.eye(4, 6)[[0, 1, 2, 0]] * 6
    return (centres[labels] + chance.normal(size=(160, 6))).astype("f4"), labels


def two_views() -> dict[str, Floats]:
    features, _ = cells()
    return {"original": features, "turned": features[:, ::-1].copy()}


@pytest.fixture(scope="module")
def table() -> Protocol:
    return run_protocol(two_views(), cells()[1], NAMES, budgets=(5, 1000))


def test_every_scheme_reader_and_view_has_its_row(table: Protocol) -> None:
    keys = {(r.scheme, r.reader, r.labels_per_class, r.view) for r in table.rows}

    assert len(keys) == len(table.rows) == 2 * 3 * 2
    assert {key[0] for key in keys} == {"4 classes", "3 classes"}
    assert {key[2] for key in keys} == {0, 5}  # 1000 labels a class do not exist


@pytest.mark.parametrize("reader", ["logistic regression", "k-NN"])
def test_classes_that_look_alike_are_told_apart_after_merging_only(
    table: Protocol, reader: str
) -> None:
    four = table.row("4 classes", reader, 0, "original")  # type: ignore[arg-type]
    three = table.row("3 classes", reader, 0, "original")  # type: ignore[arg-type]

    assert four.scores["macro_f1"].high < 0.85
    assert three.scores["macro_f1"].low > 0.95


def test_a_view_that_changes_everything_flips_the_cells(table: Protocol) -> None:
    original = table.row("3 classes", "k-NN", 0, "original")
    turned = table.row("3 classes", "k-NN", 0, "turned")

    assert original.flips is None
    assert turned.flips is not None
    assert turned.flips.low > 0.2


def test_an_equal_view_gives_equal_figures_and_no_flips() -> None:
    features, labels = cells()
    views = {"original": features, "turned": features}
    table = run_protocol(views, labels, NAMES, budgets=())

    for row in table.rows:
        twin = table.row(row.scheme, row.reader, row.labels_per_class, "original")
        assert row.scores == twin.scores
        assert row.flips is None or row.flips == (0, 0, 0)


def test_values_of_folds_and_draws_are_kept(table: Protocol) -> None:
    all_labels = table.row("4 classes", "k-NN", 0, "original")
    few = table.row("4 classes", "logistic regression", 5, "original")

    assert len(all_labels.values) == 5
    assert len(few.values) == 20
    assert few.scores["macro_f1"].value == pytest.approx(np.mean(few.values))


def test_the_same_seed_gives_the_same_table(table: Protocol) -> None:
    assert run_protocol(two_views(), cells()[1], NAMES, budgets=(5, 1000)) == table


def test_cells_that_do_not_count_teach_and_are_not_scored() -> None:
    features, labels = cells()
    half = np.arange(160) % 2 > 0
    whole = run_protocol({"original": features}, labels, NAMES, budgets=())
    counted = run_protocol(
        {"original": features}, labels, NAMES, counted=half, budgets=()
    )
    alone = run_protocol({"original": features[half]}, labels[half], NAMES, budgets=())

    found = counted.row("4 classes", "k-NN", 0, "original")
    assert (whole.cells, counted.cells) == (160, 80)
    assert found.scores != alone.row("4 classes", "k-NN", 0, "original").scores
    spoilt = features.copy()
    spoilt[~half] = 0  # what they teach is gone
    taught = run_protocol({"original": spoilt}, labels, NAMES, counted=half, budgets=())
    assert taught.row("4 classes", "k-NN", 0, "original").scores != found.scores


def test_a_table_is_the_same_after_json(table: Protocol) -> None:
    values = json.loads(json.dumps(to_plain(table)))

    assert Protocol.from_dict(values) == table


def test_rare_classes_and_unlabelled_cells_are_left_out_and_named() -> None:
    features, labels = cells()
    labels[labels == 2] = -1
    labels[:38] = -1  # leaves two band neutrophils

    table = run_protocol({"original": features}, labels, NAMES, budgets=())

    assert table.left_out == ("band_neutrophil", "blast")
    assert table.cells == 80
    assert {row.scheme for row in table.rows} == {"2 classes"}


def test_known_slides_are_kept_together_and_resampled() -> None:
    features, labels = cells()
    slides = np.array([f"slide {number % 8}" for number in range(160)])

    table = run_protocol({"original": features}, labels, NAMES, slides, budgets=())

    assert table.resampled == "slides"
    assert (
        run_protocol({"original": features}, labels, NAMES, budgets=()).resampled
        == "cells"
    )


def test_a_handful_of_cells_is_no_evaluation() -> None:
    features, labels = cells()

    with pytest.raises(DataError, match="no class has 5 labelled cells"):
        run_protocol({"original": features[::11]}, labels[::11], NAMES)
