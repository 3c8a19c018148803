"""Tables for spreadsheets: the measures that follow, and German ones."""

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from cellrot_infer.differential import denominator
from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.terminal import differential_table
from cellrot_infer.types import Failure, Provenance, Report
from cellrot_infer.writers.csv import GERMAN, cells_csv, differential_csv
from cellrot_infer.writers.summary import COLUMNS, summary_csv
from tests.infer.report_strategies import prefixed
from tests.infer.slides import slide

SLIDE = slide(374)
MEASURES = {
    "counted", "lineage", "ratio", "class with confusion", "further cells", "failed",
    "frame with a warning",
}  # fmt: skip


def rows(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def measures(name: str) -> list[dict[str, str]]:
    return [row for row in rows(summary_csv(SLIDE)) if row["measure"] == name]


def test_the_denominator_is_stated() -> None:
    (counted,) = measures("counted")
    assert (counted["cells"], counted["of"]) == (str(denominator(SLIDE)), "374")


def test_every_interval_holds_its_value() -> None:
    found = measures("lineage") + measures("ratio")
    assert len(found) == 6
    for row in found:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"])


def test_a_ratio_names_both_of_its_sides() -> None:
    ratio = measures("ratio")[0]
    quotient = int(ratio["cells"]) / int(ratio["of"])

    assert ratio["name"] == "M:E"
    assert float(ratio["value"]) == pytest.approx(quotient, abs=1e-4)


def test_every_counted_class_carries_the_confusion_of_the_model() -> None:
    names = {row["name"] for row in measures("class with confusion")}
    assert names == {*SLIDE.provenance.class_names} - {"platelet"}


def test_the_cells_still_needed_are_named() -> None:
    (needed,) = measures("further cells")
    assert int(needed["value"]) > 0
    assert needed["name"].endswith(" within 2 points")


def test_the_precision_is_the_laboratory_s() -> None:
    strict = replace(SLIDE, scheme=replace(SLIDE.scheme, precision_points=0.5))
    (usual,), (more,) = (
        [row for row in rows(summary_csv(report)) if row["measure"] == "further cells"]
        for report in (SLIDE, strict)
    )

    assert int(more["value"]) > 3 * int(usual["value"])
    assert more["name"].endswith(" within 0.5 points")


def test_frames_that_should_not_be_trusted_are_named_with_the_reason() -> None:
    first, *others = SLIDE.frames
    blurred = replace(first, warnings=("=blurred", "pale"))
    failure = Failure("+gone.png", "no image")
    report = replace(SLIDE, frames=(blurred, *others), failures=(failure,))

    found = {row["measure"]: row for row in rows(summary_csv(report))}

    warned, failed = found["frame with a warning"], found["failed"]
    assert (warned["name"], warned["note"]) == (first.name, "'=blurred; pale")
    assert (warned["cells"], warned["of"]) == ("40", "374")
    assert (failed["name"], failed["note"]) == ("'+gone.png", "no image")


def test_no_text_of_a_table_starts_a_formula() -> None:
    frames = (replace(SLIDE.frames[0], warnings=("pale",)), *SLIDE.frames[1:])
    failures = (Failure("gone.png", "no image"),)
    full = prefixed(replace(SLIDE, frames=frames, failures=failures), "=")

    found = rows(summary_csv(full))

    assert {row["measure"] for row in found} == MEASURES
    for row in found + rows(cells_csv(full)) + rows(differential_csv(full)):
        assert not any(value.startswith("=") for value in row.values())


def test_the_confusion_is_carried_in_percent() -> None:
    carried = confusion_intervals(SLIDE)
    for row in measures("class with confusion"):
        low, high = carried[row["name"]]
        assert float(row["ci_low"]) == pytest.approx(100 * low, abs=0.01)
        assert float(row["ci_high"]) == pytest.approx(100 * high, abs=0.01)


def test_a_ratio_has_a_line_where_one_of_its_sides_was_found() -> None:
    no_cells = replace(SLIDE, findings=())
    origin = replace(SLIDE.provenance, class_names=("monocyte",), confusion=())
    named = replace(SLIDE.findings[0], label="erythroblast", decision="accepted")
    reviewed = replace(SLIDE, provenance=origin, findings=(named,))

    assert "ratio" not in {row["measure"] for row in rows(summary_csv(no_cells))}
    (ratio,) = (r for r in rows(summary_csv(reviewed)) if r["measure"] == "ratio")
    assert (ratio["name"], ratio["cells"], ratio["of"]) == ("M:E", "0", "1")


def test_the_terminal_shows_lineages_below_the_classes() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(differential_table(SLIDE))
    lines = console.export_text().splitlines()

    (lineage,) = (line for line in lines if line.startswith("granulocytic"))
    share = measures("lineage")[0]
    assert lineage.split()[1] == share["cells"]
    assert lineage.split()[2] == f"{float(share['value']):.1f}"


def test_a_slide_without_cells_has_a_table_too() -> None:
    model = Provenance("m", "0", ("a", "b"), "CPU", (), (), "2026")
    text = summary_csv(Report("empty", model, (), ()))
    assert text.split("\n")[0] == ",".join(COLUMNS)
    assert [row["measure"] for row in rows(text)] == ["counted"]


@pytest.mark.parametrize("view", [cells_csv, differential_csv, summary_csv])
def test_a_german_spreadsheet_reads_the_same_numbers(view: object) -> None:
    assert callable(view)
    english, german = view(SLIDE), view(SLIDE, GERMAN)

    assert german.startswith("\ufeff")
    for one, other in zip(rows(english), rows(german[1:], ";"), strict=True):
        for key, value in one.items():
            assert other[key].replace(",", ".") == value.replace(",", ".")


def test_only_numbers_get_a_decimal_comma() -> None:
    first = rows(cells_csv(SLIDE, GERMAN)[1:], ";")[0]
    assert first["frame"] == "field 001.png"
    assert "," in first["probability"]


def test_the_terminal_tells_ratios_and_cells_needed_at_80_columns() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(differential_table(SLIDE))
    lines = console.export_text().splitlines()

    assert any(line.startswith("M:E 7.45 (5.19 to 10.70)") for line in lines)
    assert any("more cells bring every class to +-2 points" in line for line in lines)
    assert max(map(len, lines)) <= 80
