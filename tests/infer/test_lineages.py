"""Lineages and ratios as a laboratory writes them down."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.differential import denominator, differential
from cellrot_infer.errors import ReportError
from cellrot_infer.intervals import wilson
from cellrot_infer.lineages import (
    DEFAULT,
    count_ratios,
    grouped,
    lineage_counts,
    lineage_of,
    lineage_shares,
    read_scheme,
)
from cellrot_infer.types import Scheme
from tests.conftest import tiny_card
from tests.infer.slides import class_names, slide

SCHEME = read_scheme()
MARROW = {
    "promyelocyte": 4,
    "myelocyte": 10,
    "band_neutrophil": 16,
    "segmented_neutrophil": 20,
    "monocyte": 10,
    "erythroblast": 20,
    "lymphocyte": 8,
    "platelet": 30,
    "mast_cell": 1,
}


def scheme_of(text: str, tmp_path: Path) -> Scheme:
    path = tmp_path / "our scheme.toml"
    path.write_text(text, encoding="utf-8")
    return read_scheme(path)


GROUPS = {"neutrophil": ["band", "seg"], "monocyte": ["monocyte"]}
CARD = tiny_card(name="m", groupings={"8 classes": GROUPS})


@pytest.mark.parametrize("name", ["8 classes", "8"])
def test_classes_are_grouped_as_the_card_groups_them(name: str) -> None:
    scheme = grouped(SCHEME, CARD, name)

    counts = {"band": 2, "seg": 3, "monocyte": 1, "platelet": 9}
    assert lineage_counts(counts, scheme) == {"neutrophil": 5, "monocyte": 1}
    assert scheme.ratios == SCHEME.ratios


def test_a_grouping_that_the_card_has_not_is_refused_by_name() -> None:
    with pytest.raises(
        ReportError, match="m has no grouping 'nine'; it has '8 classes'"
    ):
        grouped(SCHEME, CARD, "nine")


def test_lineages_have_the_percentages_and_intervals_of_their_cells() -> None:
    report = slide(200)

    (first, *_) = lineage_shares(report)

    assert first.percent == pytest.approx(100 * first.count / denominator(report))
    assert first.ci_low == pytest.approx(
        100 * wilson(first.count, denominator(report)).low
    )


@pytest.mark.parametrize("points", ["0", "-1", "100", "nan", "true", "'two'"])
def test_a_precision_that_cannot_be_is_refused(points: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="'precision_points' is"):
        scheme_of(f"precision_points = {points}", tmp_path)


def test_the_precision_is_read(tmp_path: Path) -> None:
    assert scheme_of("precision_points = 1", tmp_path).precision_points == 1.0
    assert scheme_of("", tmp_path).precision_points == 2.0


def test_a_file_is_read_whatever_an_editor_put_in_front(tmp_path: Path) -> None:
    assert scheme_of("\ufeffexcluded = ['platelet']", tmp_path).excluded == (
        "platelet",
    )


def test_the_default_scheme_knows_every_class_of_the_samples() -> None:
    homeless = {n for n in class_names() if lineage_of(n, SCHEME) == "other"}
    assert homeless == {"platelet"} <= {*SCHEME.excluded}


def test_lineages_hold_every_counted_cell_once() -> None:
    assert lineage_counts(MARROW, SCHEME) == {
        "granulocytic": 50,
        "monocytic": 10,
        "lymphoid": 8,
        "erythroid": 20,
        "other": 1,
    }


def test_myeloid_to_erythroid_and_immature_to_mature() -> None:
    ratios = {r.name: r for r in count_ratios(MARROW, class_names(), SCHEME)}

    assert ratios["M:E"].value == pytest.approx(3)
    assert ratios["immature to mature neutrophils"].value == pytest.approx(1.5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_of_a_ratio_holds_the_ratio(above: int, below: int) -> None:
    counts = {"monocyte": above, "erythroblast": below}
    ratio = count_ratios(counts, class_names(), SCHEME)[0]

    if above + below:
        assert ratio.ci_low <= ratio.value <= ratio.ci_high
    else:
        assert math.isnan(ratio.value)
        assert (ratio.ci_low, ratio.ci_high) == (0, math.inf)


def test_a_ratio_that_the_model_cannot_know_is_left_out() -> None:
    assert count_ratios({"lymphocyte": 3}, ["lymphocyte", "neutrophil"], SCHEME) == ()


def test_a_laboratory_counts_blood_without_erythroblasts(tmp_path: Path) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    blood = scheme_of(
        text.replace('"artefact"', '"artefact", "erythroblast"'), tmp_path
    )

    assert "erythroid" not in lineage_counts(MARROW, blood)


def test_what_is_excluded_is_counted_and_has_no_share() -> None:
    report = slide(374)
    rows = {share.label: share for share in differential(report)}
    platelets = rows.pop("platelet")

    assert platelets.count > 0
    assert platelets.percent is None
    assert denominator(report) + platelets.count == 374
    assert sum(share.percent or 0 for share in rows.values()) == pytest.approx(100)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lineages = [", "no valid TOML"),
        pytest.param("excluded = " + "[" * 3000, "no valid TOML", id="deep"),
        ("lineages = 3", "'lineages' is 3, expected a table"),
        ("excluded = ['a', 3]", "'excluded' is .*, expected a list of names"),
        ("linages = {}", "'linages' is unknown"),
        ("[lineages]\na = 'b'", "lineage 'a' is 'b', expected a list of names"),
        ("[lineages]\na = ['x']\nb = ['x']", "'x' is in two lineages"),
        ("[lineages]\nother = ['x']", "'other' is what is in no lineage"),
        ("[ratios.q]\nabove = []", "ratio 'q' needs 'above' and 'below'"),
        ("[ratios.q]\nabove = []\nbelow = []\nof = []", "and nothing else"),
        (
            "[lineages]\na = ['x']\n[ratios.q]\nabove = ['a']\nbelow = ['erythriod']",
            "ratio 'q' names 'erythriod', which no lineage has",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ReportError, match=rf"our scheme\.toml: .*{problem}"):
        scheme_of(text, tmp_path)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "utf16.toml").write_bytes("a = 1".encode("utf-16"))
    with pytest.raises(ReportError, match="save it as UTF-8"):
        read_scheme(tmp_path / "utf16.toml")
    with pytest.raises(ReportError, match="cannot be read"):
        read_scheme(tmp_path / "gone.toml")
