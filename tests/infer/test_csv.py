"""The CSV files are what the design says, and no spreadsheet runs anything in them."""

import csv
import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrot_infer.types import Report
from cellrot_infer.writers.csv import cells_csv, differential_csv, plain
from cellrot_infer.writers.text import shown
from tests.infer.report_strategies import findings
from tests.infer.slides import slide
from tests.infer.test_differential import report_on

CELLS = (
    "frame,cell,x_px,y_px,width_px,height_px,area_um2,nucleus_area_um2,"
    "label,probability,runner_up,runner_up_probability,decision"
)


few = st.lists(findings, max_size=3).map(
    lambda found: dataclasses.replace(slide(1), findings=tuple(found))
)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_columns_are_those_that_others_rely_on() -> None:
    report = slide(3)

    assert cells_csv(report).split("\n")[0] == CELLS
    assert differential_csv(report).split("\n")[0] == (
        "label,count,percent,ci_low,ci_high"
    )


def test_a_line_says_where_the_cell_is_and_what_it_is() -> None:
    report = slide(1)
    (finding,) = report.findings

    (row,) = rows(cells_csv(report))

    assert row["frame"] == finding.frame
    assert row["cell"] == "1"
    box = finding.cell.box
    assert [row[f"{key}_px"] for key in ("x", "y", "width", "height")] == [
        str(value) for value in (box.x_px, box.y_px, box.width_px, box.height_px)
    ]
    assert float(row["area_um2"]) == pytest.approx(finding.cell.area_um2, abs=0.01)
    assert (row["label"], row["decision"]) == (finding.label, finding.decision)
    assert float(row["probability"]) == pytest.approx(finding.probability, abs=1e-4)
    assert row["runner_up"] == finding.runner_up
    assert float(row["nucleus_area_um2"]) == finding.cell.nucleus_area_um2
    assert float(row["runner_up_probability"]) == finding.runner_up_probability


def test_a_line_says_how_many_there_are_of_a_class() -> None:
    report = report_on(["lymphocyte"] * 4 + ["monocyte"] * 6 + ["platelet"])

    lines = differential_csv(report).splitlines()

    assert "lymphocyte,4,40.00,16.82,68.73" in lines
    assert "platelet,1,,," in lines


def test_lines_end_alike_on_every_system() -> None:
    text = cells_csv(slide(5)) + differential_csv(slide(5))

    assert "\r" not in text
    assert text.endswith("\n")


@settings(max_examples=40)
@given(few)
def test_every_report_can_be_read_back_line_by_line(report: Report) -> None:
    cells = rows(cells_csv(report))

    assert len(cells) == len(report.findings)
    for row, finding in zip(cells, report.findings, strict=True):
        assert row["frame"].removeprefix("'") == shown(finding.frame).removeprefix("'")
        assert row["decision"] == finding.decision


@settings(max_examples=40)
@given(few)
def test_no_value_starts_a_formula(report: Report) -> None:
    for row in rows(cells_csv(report)) + rows(differential_csv(report)):
        for value in row.values():
            assert not value.lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠"))  # noqa: RUF001


@pytest.mark.parametrize("text", ["=1+1", "+49", "-x", "@a", "  =x", *"＝＋－＠"])  # noqa: RUF001
def test_a_formula_becomes_text(text: str) -> None:
    assert plain(text) == f"'{text}"


def test_a_line_stays_a_line() -> None:
    assert plain("a\r\nb\tc\u202e") == "a\ufffd\ufffdb\ufffdc\ufffd"


@pytest.mark.parametrize(
    "label", ["lymphocyte", "neutrophil, band", "Blast-früh", "a=b", ""]
)
def test_an_ordinary_label_stays_as_it_is(label: str) -> None:
    assert plain(label) == label


def test_a_report_without_cells_has_a_header_and_every_class() -> None:
    empty = dataclasses.replace(slide(1), findings=())

    assert cells_csv(empty) == CELLS + "\n"
    classes = [row["label"] for row in rows(differential_csv(empty))]
    assert classes == [*empty.provenance.class_names, "uncertain", "unknown"]
