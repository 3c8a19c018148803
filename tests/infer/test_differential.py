"""Every cell is counted once, in the row where it belongs."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrot_infer.differential import (
    denominator,
    differential,
    needed_cells,
    row_label,
)
from cellrot_infer.intervals import further_cells
from cellrot_infer.types import Finding, Report
from tests.infer.report_strategies import texts
from tests.infer.slides import class_names, slide


def report_on(labels: list[str]) -> Report:
    report = slide(len(labels))
    found = map(relabelled, report.findings, labels)
    return replace(report, findings=tuple(found))


def relabelled(finding: Finding, label: str) -> Finding:
    return replace(finding, label=label, decision="accepted")


labels = st.sampled_from([*class_names(), "unknown", "artefact"]) | texts
counted = st.lists(labels, max_size=30).map(report_on)


@settings(max_examples=50)
@given(counted)
def test_every_cell_is_counted_once(report: Report) -> None:
    shares = differential(report)

    assert sum(share.count for share in shares) == len(report.findings)
    assert len({share.label for share in shares}) == len(shares)


@settings(max_examples=50)
@given(counted)
def test_the_percentages_of_what_is_counted_add_up(report: Report) -> None:
    shares = differential(report)

    total = sum(share.percent or 0 for share in shares)
    assert total == pytest.approx(100 if denominator(report) else 0)


@settings(max_examples=50)
@given(counted)
def test_the_interval_holds_the_percentage(report: Report) -> None:
    for share in differential(report):
        if share.percent is not None:
            assert share.ci_low is not None
            assert share.ci_high is not None
            assert 0 <= share.ci_low <= share.percent + 1e-9
            assert share.percent - 1e-9 <= share.ci_high <= 100 + 1e-9


def test_doubtful_cells_have_rows_of_their_own() -> None:
    report = slide(60)
    counts = {share.label: share.count for share in differential(report)}

    for decision in ("uncertain", "unknown"):
        found = sum(finding.decision == decision for finding in report.findings)
        assert counts[decision] == found > 0
    accepted = [f for f in report.findings if f.decision == "accepted"]
    assert all(row_label(finding) == finding.label for finding in accepted)


def test_platelets_are_counted_but_in_no_percentage() -> None:
    report = report_on(["platelet"] * 4 + ["lymphocyte"] * 3 + ["monocyte"] * 3)

    rows = {share.label: share for share in differential(report)}

    assert (rows["platelet"].count, rows["platelet"].percent) == (4, None)
    assert (rows["lymphocyte"].count, rows["lymphocyte"].percent) == (3, 50)


def test_rows_of_a_reviewer_stand_between_the_classes_and_the_undecided() -> None:
    rows = [share.label for share in differential(report_on(["artefact"]))]
    assert rows == [*class_names(), "artefact", "uncertain", "unknown"]


def test_the_cells_needed_are_those_of_the_counted_class_that_asks_for_most() -> None:
    accepted = report_on(["lymphocyte"] * 9 + ["basophil"] + ["platelet"] * 4)
    doubtful = (replace(each, decision="unknown") for each in accepted.findings[:6])
    report = replace(accepted, findings=(*doubtful, *accepted.findings[6:]))

    assert needed_cells(report) == (further_cells(3, 10, 0.02), "lymphocyte")
    assert needed_cells(report_on(["platelet"])) is None


def test_a_known_interval_is_given() -> None:
    # Wilson, 4 of 10, by hand: (0.4 + z^2/20 -+ z sqrt(0.024 + z^2/400)) / (1 + z^2/10)
    report = report_on(["lymphocyte"] * 4 + ["monocyte"] * 6)

    rows = {share.label: share for share in differential(report)}

    lymphocytes = rows["lymphocyte"]
    assert (lymphocytes.ci_low, lymphocytes.ci_high) == pytest.approx(
        (16.82, 68.73), abs=0.01
    )
    assert (rows["basophil"].ci_low, rows["basophil"].ci_high) == pytest.approx(
        (0, 27.75), abs=0.01
    )
