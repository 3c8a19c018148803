"""The scores against scikit-learn and by hand; the intervals against their promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from cellrot_train import metrics
from cellrot_train.metrics import (
    EIGHT_CLASSES,
    SCORES,
    Indices,
    bootstrap,
    confusion,
    judge,
    macro_f1,
    merge_classes,
    resampling_groups,
)

ROUNDING = 1e-12

REFERENCES = {
    "macro_f1": lambda t, p: sk.f1_score(t, p, average="macro", zero_division=0),
    "weighted_f1": lambda t, p: sk.f1_score(t, p, average="weighted", zero_division=0),
    "balanced_accuracy": lambda t, p: sk.recall_score(
        t, p, average="macro", labels=np.unique(t), zero_division=0
    ),
    "accuracy": sk.accuracy_score,
    "mcc": sk.matthews_corrcoef,
}

pairs = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60
).map(lambda rows: np.array(rows, dtype=np.int64).T)


@pytest.mark.filterwarnings("ignore:A single label")  # scikit-learn, at one class
@pytest.mark.parametrize("name", SCORES)
@given(pairs)
def test_scores_agree_with_scikit_learn(name: str, pair: Indices) -> None:
    truth, predicted = pair

    ours = SCORES[name](confusion(truth, predicted, 5))

    assert abs(ours - REFERENCES[name](truth, predicted)) < ROUNDING


@given(pairs)
def test_the_rows_of_each_class_agree_with_scikit_learn(pair: Indices) -> None:
    truth, predicted = pair
    names = tuple("abcde")

    rows = judge(truth, predicted, 5).class_scores(names)

    expected = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(5), zero_division=0
    )
    found = [(r.precision.value, r.recall.value, r.f1.value, r.support) for r in rows]
    np.testing.assert_allclose(np.array(found).T, expected, atol=ROUNDING)


def test_scores_of_a_small_matrix_are_those_worked_out_by_hand() -> None:
    counts = np.array([[3, 1, 0], [0, 2, 0], [1, 0, 3]])  # 8 of 10 right

    f1 = (2 * 3 / 8, 2 * 2 / 5, 2 * 3 / 7)
    assert abs(metrics.accuracy(counts) - 0.8) < ROUNDING
    assert abs(macro_f1(counts) - sum(f1) / 3) < ROUNDING
    assert (
        abs(metrics.weighted_f1(counts) - (4 * f1[0] + 2 * f1[1] + 4 * f1[2]) / 10)
        < ROUNDING
    )
    assert abs(metrics.balanced_accuracy(counts) - (3 / 4 + 1 + 3 / 4) / 3) < ROUNDING


def test_many_matrices_are_scored_as_one_by_one() -> None:
    counts = np.random.default_rng(0).integers(0, 9, size=(50, 4, 4))

    for score in SCORES.values():
        alone = [score(matrix) for matrix in counts]
        np.testing.assert_allclose(score(counts), alone, atol=ROUNDING)


def test_chance_and_perfection_are_where_they_belong() -> None:
    truth = np.repeat(np.arange(4), 500)
    shuffled = np.random.default_rng(0).permutation(truth)

    perfect = judge(truth, truth, 4).scores()
    guessed = judge(truth, shuffled, 4).scores()

    assert all(estimate == (1, 1, 1) for estimate in perfect.values())
    assert guessed["mcc"].low < 0 < guessed["mcc"].high
    assert guessed["accuracy"].low < 0.25 < guessed["accuracy"].high


def simulated(
    chance: np.random.Generator, cells: int, recall: float
) -> tuple[Indices, Indices]:
    """Return truth and predictions of three classes, each found with `recall`."""
    truth = chance.integers(3, size=cells)
    wrong = (truth + chance.integers(1, 3, size=cells)) % 3
    return truth, np.where(chance.random(cells) < recall, truth, wrong)


def test_intervals_hold_the_true_score_as_often_as_they_say() -> None:
    chance = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        truth, predicted = simulated(chance, 300, 0.8)  # true macro-F1 is 0.8
        estimate = judge(truth, predicted, 3, seed=seed).estimate(macro_f1)
        held += estimate.low <= 0.8 <= estimate.high

    assert 0.90 <= held / 200 <= 0.985


def of_slides(chance: np.random.Generator) -> tuple[Indices, Indices, Indices]:
    """Return 400 cells of 20 slides; slides differ in how well they are read."""
    recalls = chance.choice([0.6, 1.0], size=20)
    slides = np.repeat(np.arange(20), 20)
    parts = [simulated(chance, 20, recall) for recall in recalls]
    truth, predicted = np.concatenate(parts, axis=1)
    return truth, predicted, slides


def test_slides_that_differ_need_intervals_over_slides() -> None:
    chance = np.random.default_rng(2)
    held = {"cells": 0, "slides": 0}
    for seed in range(150):
        truth, predicted, slides = of_slides(chance)  # true accuracy is 0.8
        for unit, groups in (("cells", None), ("slides", slides)):
            judged = judge(truth, predicted, 3, groups, seed=seed)
            estimate = judged.estimate(metrics.accuracy)
            held[unit] += estimate.low <= 0.8 <= estimate.high

    assert held["slides"] / 150 > 0.88
    assert held["cells"] / 150 < 0.75  # the interval that ignores slides is too short


def test_drawing_each_cell_as_its_own_group_changes_little() -> None:
    truth, predicted = simulated(np.random.default_rng(3), 500, 0.7)

    alone = judge(truth, predicted, 3).estimate(macro_f1)
    grouped = judge(truth, predicted, 3, np.arange(500)).estimate(macro_f1)

    np.testing.assert_allclose(alone, grouped, atol=0.01)


def test_both_ways_of_drawing_give_the_same_interval() -> None:
    truth, predicted = simulated(np.random.default_rng(4), 400, 0.7)

    def score(truth: Indices, predicted: Indices) -> float:
        return float(macro_f1(confusion(truth, predicted, 3)))

    rows = bootstrap(score, truth, predicted)
    matrices = judge(truth, predicted, 3).estimate(macro_f1)

    np.testing.assert_allclose(rows, matrices, atol=0.015)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    truth, predicted = simulated(np.random.default_rng(5), 100, 0.7)
    first, again, other = (
        judge(truth, predicted, 3, seed=seed).estimate(macro_f1) for seed in (0, 0, 1)
    )

    assert first == again
    assert first.value == other.value
    assert first.low != other.low


def test_whole_groups_are_drawn() -> None:
    values, groups = np.arange(12), np.repeat([0, 1, 2, 3], 3)
    rows = metrics._drawn_rows(12, groups, 30, np.random.default_rng(0))

    for row in rows:
        assert all(len(set(part)) == 1 for part in groups[row].reshape(-1, 3))
        assert len(values[row]) == 12


def test_few_or_unknown_slides_are_not_resampled() -> None:
    four = np.repeat(["a", "b", "c", "d"], 5)
    five = np.repeat(["a", "b", "c", "d", "e"], 4)

    assert resampling_groups(four) is None
    assert resampling_groups(np.where(five == "a", "", five)) is None
    assert resampling_groups(five) is five


def test_eleven_classes_merge_to_the_eight_of_bloodmnist() -> None:
    names = (
        "band_neutrophil", "basophil", "eosinophil", "erythroblast", "lymphocyte",
        "metamyelocyte", "monocyte", "myelocyte", "platelet", "promyelocyte",
        "segmented_neutrophil",
    )  # fmt: skip

    merged, index = merge_classes(names, EIGHT_CLASSES)

    assert len(merged) == 8
    assert merged[index[names.index("myelocyte")]] == "immature granulocyte"
    assert merged[index[names.index("segmented_neutrophil")]] == "neutrophil"
    assert merged[index[names.index("basophil")]] == "basophil"


def test_names_that_no_group_holds_stay_as_they_are() -> None:
    names, index = merge_classes(("blast", "smudge"), EIGHT_CLASSES)

    assert names == ("blast", "smudge")
    assert index.tolist() == [0, 1]
