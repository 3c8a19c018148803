"""Corrections go into the report they were made for, and into no other."""

import csv
import io
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import typer

from cellrot_infer.audit import read_trail
from cellrot_infer.cli import app
from cellrot_infer.differential import row_counts
from cellrot_infer.errors import ReportError
from cellrot_infer.review import COLUMNS, apply_review, correct
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import plain
from cellrot_infer.writers.json import read_report, report_sha256, report_to_json
from tests.infer.report_strategies import HOSTILE
from tests.infer.slides import slide

SLIDE = slide(60)
FIRST = SLIDE.findings[0]


def row_of(index: int, label: str, report: Report = SLIDE) -> dict[str, str]:
    finding = report.findings[index]
    return {
        "frame": plain(finding.frame),
        "cell": str(finding.number),
        "before": plain(finding.label),
        "label": plain(label),
        "reviewer": "A. Müller",
        "time": "2026-03-02T10:00:00Z",
        "report_sha256": report_sha256(report),
    }


def table(*rows: dict[str, str], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def save(folder: Path, report: Report, corrections: str) -> tuple[Path, Path]:
    paths = folder / "Marrow 17.json", folder / "corrections.csv"
    paths[0].write_text(report_to_json(report), encoding="utf-8")
    paths[1].write_bytes(corrections.encode("utf-8-sig"))
    return paths


def test_a_corrected_cell_counts_in_its_new_class() -> None:
    corrected = correct(SLIDE, table(row_of(0, "lymphocyte")))

    before, after = row_counts(SLIDE), row_counts(corrected)
    assert after["lymphocyte"] == before["lymphocyte"] + 1
    assert after[FIRST.label] == before[FIRST.label] - 1
    assert corrected.findings[1:] == SLIDE.findings[1:]


def test_a_confirmed_cell_is_no_longer_in_doubt() -> None:
    doubtful = replace(FIRST, decision="uncertain")
    report = replace(SLIDE, findings=(doubtful, *SLIDE.findings[1:]))

    corrected = correct(report, table(row_of(0, FIRST.label, report)))

    assert corrected.findings[0].decision == "accepted"
    assert corrected.findings[0].label == FIRST.label


def test_a_reviewed_cell_is_certain_and_its_reviewer_is_named() -> None:
    corrected = correct(SLIDE, table(row_of(0, "blast")))

    assert corrected.findings[0].probability == 1
    assert corrected.findings[0].runner_up == ""
    assert corrected.findings[0].runner_up_probability == 0
    (word,) = corrected.corrections
    assert (word.before, word.label) == (FIRST.label, "blast")
    assert (word.reviewer, word.time) == ("A. Müller", "2026-03-02T10:00:00+00:00")


@pytest.mark.parametrize("name", ["=A. Müller", "@lab", "'t Hooft", "O'Neill"])
def test_a_reviewer_is_called_as_they_wrote(name: str) -> None:
    row = row_of(0, "blast") | {"reviewer": plain(name)}
    assert correct(SLIDE, table(row)).corrections[0].reviewer == name


def test_the_time_of_a_review_is_told_in_utc() -> None:
    row = row_of(0, "blast") | {"time": "2026-03-02T01:30:00+02:00"}
    (word,) = correct(SLIDE, table(row)).corrections
    assert word.time == "2026-03-01T23:30:00+00:00"


def test_frames_that_cannot_be_told_apart_are_refused() -> None:
    second = replace(SLIDE.findings[1], number=1, frame="a\tb")
    report = replace(SLIDE, findings=(replace(FIRST, frame="a\nb"), second))

    with pytest.raises(ReportError, match="two frames of the report have the same"):
        correct(report, table(row_of(0, "blast", report)))


def test_classes_that_cannot_be_told_apart_are_refused() -> None:
    names = ("a\tb", "a\nb")
    provenance = replace(SLIDE.provenance, class_names=names)
    report = replace(SLIDE, provenance=provenance)

    with pytest.raises(ReportError, match="two classes of the report read the same"):
        correct(report, table(row_of(0, "a\tb", report)))


def test_a_spreadsheet_may_have_saved_it_with_semicolons() -> None:
    corrected = correct(SLIDE, table(row_of(0, "blast"), delimiter=";"))
    assert corrected.findings[0].label == "blast"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_find_their_cell(name: str) -> None:
    finding = replace(FIRST, frame=name, label=name)
    frame = replace(SLIDE.frames[0], name=name)
    report = replace(SLIDE, frames=(frame,), findings=(finding,))
    row = row_of(0, name, report)
    as_the_page_saves = {
        key: text.replace("\udcff", "\ufffd") for key, text in row.items()
    }

    corrected = correct(report, table(as_the_page_saves))

    assert corrected.findings[0].label == name
    assert corrected.corrections[0].frame == name


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"report_sha256": "f" * 64}, "made for the report 'ffffffffffff', and this"),
        ({"report_sha256": report_sha256(SLIDE)[:-1] + "?"}, "made for the report"),
        ({"frame": "other.png"}, "has no cell '1' of 'other.png'"),
        ({"cell": "-1"}, "has no cell '-1'"),
        ({"cell": "²"}, "has no cell '²'"),
        ({"before": "blast"}, "the cell is 'metamyelocyte', not 'blast'"),
        ({"label": "lymphcyte"}, "'lymphcyte' is no class of the report"),
        ({"reviewer": " "}, "no reviewer is named"),
        ({"time": "yesterday"}, "yesterday"),
        ({"time": "2026-03-02T10:00:00"}, "has no zone"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "out of range"),
    ],
)
def test_what_does_not_fit_the_report_is_refused(
    changes: dict[str, str], problem: str
) -> None:
    rows = table(row_of(1, "blast"), {**row_of(0, "blast"), **changes})

    with pytest.raises(ReportError, match=rf"c\.csv, line 3: .*{problem}"):
        correct(SLIDE, rows, "c.csv")


def test_two_words_on_one_cell_are_refused() -> None:
    with pytest.raises(ReportError, match="line 3: a second word on cell 1 of"):
        correct(SLIDE, table(row_of(0, "blast"), row_of(0, "monocyte")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no table of corrections"),
        ("frame,cell\nx,1\n", "lacks before, label"),
        (",".join(COLUMNS) + "\nx,1\n", "line 2: 2 columns, expected 7"),
        (",".join(COLUMNS) + "\n" + 8 * "x,", "line 2: 9 columns, expected 7"),
        (",".join(COLUMNS) + "\n", "holds no corrections"),
        (",".join(COLUMNS) + ",label\n", "more than one column label"),
        ("a" * 200_000, "line 1: no valid CSV"),
        (",".join(COLUMNS) + "\n" + "a" * 200_000, "line 2: no valid CSV"),
    ],
)
def test_what_is_no_table_of_corrections_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ReportError, match=problem):
        correct(SLIDE, text)


def test_applying_writes_the_report_and_its_trail(tmp_path: Path) -> None:
    paths = save(tmp_path, SLIDE, table(row_of(0, "blast"), row_of(7, "monocyte")))

    corrected, written, trail = apply_review(*paths, tmp_path)

    assert written.name == "Marrow 17.reviewed.json"
    assert read_report(written) == corrected
    entries = read_trail(trail)
    assert [entry["after"] for entry in entries] == ["blast", "monocyte"]
    assert entries[0]["before"] == FIRST.label
    assert entries[0]["before_probability"] == FIRST.probability
    assert [entry["before_decision"] for entry in entries] == ["accepted", "unknown"]
    assert entries[0]["reviewer"] == "A. Müller"
    assert entries[0]["reviewed"] == "2026-03-02T10:00:00+00:00"
    assert entries[0]["corrections_sha256"] == sha256(paths[1].read_bytes()).hexdigest()
    assert entries[0]["report_sha256"] == report_sha256(SLIDE)
    assert entries[0]["corrected_sha256"] == report_sha256(corrected)


def test_other_corrections_of_the_same_report_are_lines_of_their_own(
    tmp_path: Path,
) -> None:
    for label in ("blast", "monocyte"):
        paths = save(tmp_path, SLIDE, table(row_of(0, label)))
        _, _, trail = apply_review(*paths, tmp_path)

    assert [entry["after"] for entry in read_trail(trail)] == ["blast", "monocyte"]


def test_applying_twice_is_applying_once(tmp_path: Path) -> None:
    paths = save(tmp_path, SLIDE, table(row_of(0, "blast")))
    _, written, trail = apply_review(*paths, tmp_path)
    first = written.read_bytes(), trail.read_bytes()

    apply_review(*paths, tmp_path)

    assert (written.read_bytes(), trail.read_bytes()) == first


def test_a_second_review_goes_on_from_the_first(tmp_path: Path) -> None:
    paths = save(tmp_path, SLIDE, table(row_of(0, "blast")))
    once, written, trail = apply_review(*paths, tmp_path)
    paths[1].write_text(table(row_of(0, "monocyte", once)), encoding="utf-8")

    twice, again, same_trail = apply_review(written, paths[1], tmp_path)

    assert (again, same_trail) == (written, trail)
    assert [word.label for word in twice.corrections] == ["blast", "monocyte"]
    assert [entry["after"] for entry in read_trail(trail)] == ["blast", "monocyte"]


def test_a_broken_trail_stops_before_anything_is_written(tmp_path: Path) -> None:
    paths = save(tmp_path, SLIDE, table(row_of(0, "blast")))
    trail = tmp_path / "Marrow 17.audit.jsonl"
    trail.write_text(json.dumps({"after": "forged"}) + "\n", encoding="utf-8")

    with pytest.raises(ReportError, match="line 1: changed"):
        apply_review(*paths, tmp_path)
    assert not (tmp_path / "Marrow 17.reviewed.json").exists()


def test_corrections_that_are_not_there_or_no_text_are_one_line(tmp_path: Path) -> None:
    paths = save(tmp_path, SLIDE, "")
    with pytest.raises(ReportError, match=r"gone\.csv: cannot be read"):
        apply_review(paths[0], tmp_path / "gone.csv", tmp_path)
    paths[1].write_bytes("frame".encode("utf-16"))
    with pytest.raises(ReportError, match="save it as CSV UTF-8"):
        apply_review(*paths, tmp_path)


def test_the_command_applies_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = save(tmp_path, SLIDE, table(row_of(0, "blast")))

    command("review", "apply", *map(str, paths), "--csv-locale", "de")
    command("review", "check", str(tmp_path / "Marrow 17.audit.jsonl"))

    shown = capsys.readouterr()
    assert "Marrow 17,blast,1," in shown.out
    assert "1 corrections, unchanged" in shown.out
    assert {path.name for path in tmp_path.glob("*.reviewed.*")} == {
        "Marrow 17.reviewed.json",
        "Marrow 17.reviewed.cells.csv",
        "Marrow 17.reviewed.differential.csv",
        "Marrow 17.reviewed.summary.csv",
    }


def command(*arguments: str) -> None:
    typer.main.get_command(app).main(list(arguments), standalone_mode=False)
