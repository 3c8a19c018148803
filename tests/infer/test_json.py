"""The JSON of a report: lossless, published, and refused when it is not ours."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cellrot_infer
from cellrot_infer.errors import ReportError
from cellrot_infer.types import Polygon, Provenance, Report
from cellrot_infer.writers.decode import MismatchError, decoder
from cellrot_infer.writers.json import (
    read_report,
    report_from_json,
    report_sha256,
    report_to_json,
)
from tests.infer.report_strategies import reports
from tests.infer.slides import slide

SCHEMA = json.loads(
    (Path(cellrot_infer.__file__).parent / "report.schema.json").read_text("utf-8")
)
EMPTY = Report("slide", Provenance("m", "0", (), "CPU", (), (), "2026"), (), ())
# Reports are built of many parts; drawing them, not testing them, takes the time.
some = settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)


def fields_of(report: Report) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(report_to_json(report))
    return values


@some
@given(reports)
def test_json_round_trip_loses_nothing(report: Report) -> None:
    again = report_from_json(report_to_json(report))

    assert again == report
    assert report_to_json(again) == report_to_json(report)


@some
@given(reports)
def test_every_report_is_valid_under_the_published_schema(report: Report) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(fields_of(report))


@some
@given(reports.filter(lambda report: bool(report.findings)), st.data())
def test_the_schema_and_the_reader_refuse_the_same(
    report: Report, data: st.DataObject
) -> None:
    values = fields_of(report)
    spoilt = data.draw(st.sampled_from(spoilable(values)))
    spoilt(data.draw(st.sampled_from([None, [], {}, "1.5", True, -1.5])))

    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(values)

    if valid:
        report_from_json(json.dumps(values))
    else:
        with pytest.raises(ReportError, match=r"\Aa\.json: [^\n]+\Z"):
            report_from_json(json.dumps(values), "a.json")


def spoilable(values: dict[str, Any]) -> list[Any]:
    """Return a setter for every place in a report that holds a value."""
    setters: list[Any] = []

    def visit(holder: dict[str, Any] | list[Any]) -> None:
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in list(items):
            setters.append(lambda new, h=holder, k=key: h.__setitem__(k, new))
            if isinstance(value, dict | list):
                visit(value)

    visit(values)
    return setters


def test_a_report_from_a_newer_version_is_refused() -> None:
    newer = json.dumps({**fields_of(EMPTY), "schema_version": 2})

    with pytest.raises(ReportError, match="report has schema 2, this cellrot reads 1"):
        report_from_json(newer)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "schema None"),
        ('{"schema_version": 1}', "the whole lacks 'findings'"),
        ('{"schema_version": 1, "x": NaN}', "NaN is no number"),
        ('{"schema_version": 1, "x": 3}', "has an unknown entry 'x'"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(ReportError, match=rf"\Aa\.json: [^\n]*{problem}[^\n]*\Z"):
        report_from_json(text, "a.json")


def test_the_place_of_a_wrong_value_is_named() -> None:
    values = fields_of(EMPTY)
    values["frames"] = [{"name": "f"}]

    with pytest.raises(ReportError, match=r"report: frames\[0\] lacks 'height_px'"):
        report_from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("outline", "problem"),
    [
        ([[1, 2], [3, 4.5]], r"\[1\]\[1\] is 4.5, expected a whole number"),
        ([[1, 2], [True, 4]], r"\[1\]\[0\] is True, expected a whole number"),
        ([[1, 2], [3]], r"\[1\] is \[3\], expected a list of 2"),
        ([[1, 2], "34"], r"\[1\] is '34', expected a list of 2"),
        ({"1": 2}, r" is {'1': 2}, expected a list"),
    ],
)
def test_the_place_of_a_wrong_corner_is_named(outline: object, problem: str) -> None:
    with pytest.raises(MismatchError, match=f"^{problem}|^the whole{problem}"):
        decoder(Polygon)(outline)


@pytest.mark.parametrize(
    "confusion", [[[1]], [[1, 2], [3]], [[1, -1], [0, 2]], [[10**12, 1], [0, 2]]]
)
def test_a_confusion_that_does_not_fit_its_classes_is_refused(
    confusion: list[list[int]],
) -> None:
    values = fields_of(EMPTY)
    values["provenance"] |= {"class_names": ["a", "b"], "confusion": confusion}

    with pytest.raises(ReportError, match="confusion does not count each class"):
        report_from_json(json.dumps(values))


@pytest.mark.parametrize("place", ["box", "outline"])
def test_a_cell_that_no_image_can_hold_is_refused(place: str) -> None:
    cell = slide(1).findings[0].cell
    far = {"box": replace(cell.box, x_px=2**31), "outline": ((-(2**31), 0), (1, 1))}
    finding = replace(slide(1).findings[0], cell=replace(cell, **{place: far[place]}))  # type: ignore[arg-type]
    text = report_to_json(replace(EMPTY, findings=(finding,)))

    with pytest.raises(ReportError, match=r"cell 1 of 'field 001.png' is in no image"):
        report_from_json(text)


@pytest.mark.parametrize("size", ["1e999", "1" + 400 * "0"])
def test_a_number_that_no_float_can_hold_is_refused(size: str) -> None:
    frame = {"name": "f", "sha256": "", "width_px": 9, "height_px": 9}
    frame["pixel_size"] = {"um": "SIZE", "source": "option"}
    text = json.dumps(fields_of(EMPTY) | {"frames": [frame]})

    with pytest.raises(ReportError, match=r"pixel_size\.um is .* expected a number"):
        report_from_json(text.replace('"SIZE"', size))


def test_a_number_that_is_none_never_reaches_a_file() -> None:
    broken = Report("slide", EMPTY.provenance, (), (), (), (float("nan"),))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="not JSON compliant"):
        report_to_json(broken)


def test_the_hash_names_the_report_and_not_the_layout_of_its_file() -> None:
    pretty = json.dumps(fields_of(EMPTY), indent=2)
    other = Report("other", EMPTY.provenance, (), ())

    assert report_sha256(report_from_json(pretty)) == report_sha256(EMPTY)
    assert report_sha256(other) != report_sha256(EMPTY)


def test_a_file_is_read_whatever_an_editor_put_in_front(tmp_path: Path) -> None:
    path = tmp_path / "Größe 1.json"
    path.write_text(report_to_json(EMPTY), encoding="utf-8-sig")

    assert read_report(path) == EMPTY


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"gone\.json: cannot be read"):
        read_report(tmp_path / "gone.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportError, match="no UTF-8 text"):
        read_report(tmp_path / "b.json")
