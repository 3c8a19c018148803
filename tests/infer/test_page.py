"""What the page of a report tells, and what it gives to its script."""

import re
from dataclasses import replace
from itertools import accumulate

import cv2
import numpy as np
import pytest

from cellrot_infer.differential import (
    accepted_counts,
    denominator,
    differential,
    needed_cells,
)
from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.intervals import wilson
from cellrot_infer.lineages import count_ratios, lineage_shares
from cellrot_infer.types import Correction, Failure, PixelSize, Polygon
from cellrot_infer.writers.json import report_sha256
from cellrot_infer.writers.palette import UNDECIDED, class_colours, hex_colour
from tests.infer.slides import class_names, slide
from tests.infer.test_html import data_of, html_of

SLIDE = slide(40)


def row_of(page: str, label: str) -> str:
    """Return the row of the count that `label` has."""
    rows: list[str] = re.findall(r"<tr data-row.*?</tr>", page, re.DOTALL)
    return next(row for row in rows if f"<bdi>{label.replace('_', ' ')}</bdi>" in row)


def test_a_row_has_the_interval_of_the_count_and_of_the_confusion() -> None:
    page, carried = html_of(SLIDE), confusion_intervals(SLIDE)

    for share in differential(SLIDE):
        row = row_of(page, share.label)
        assert f'"count">{share.count}<' in row
        if share.ci_low is not None:
            assert f'"interval">{share.ci_low:.1f} to {share.ci_high:.1f}<' in row
        if share.label in carried:
            low, high = carried[share.label]
            assert f'as-analysed">{100 * low:.1f} to {100 * high:.1f}<' in row


def test_the_chart_is_as_wide_as_its_scale_says() -> None:
    page = html_of(SLIDE)
    scale = float(found_in(page, r'id="scale">(\d+) %'))
    shares = [each for each in differential(SLIDE) if each.count and each.percent]

    assert scale - 10 < max(each.ci_high or 0 for each in shares) <= scale
    for share in shares:
        row = row_of(page, share.label)
        ends = re.search(r'whisker" d="M([\d.]+) 12H([\d.]+)"', row)
        assert ends
        drawn = found_in(row, r'width="([\d.]+)" fill'), *ends.groups()
        told = share.percent, share.ci_low, share.ci_high
        assert [float(end) * scale / 100 for end in drawn] == pytest.approx(
            told, abs=0.01
        )


def found_in(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found
    return found[1]


def test_what_is_not_counted_is_told_apart() -> None:
    page = html_of(slide(60))

    assert '"interval">not counted<' in row_of(page, "platelet")
    assert "rect data-field" not in row_of(page, "platelet")
    assert f'id="denominator">{denominator(slide(60))}<' in page
    assert "Not counted: <bdi>platelet</bdi>. The intervals" in page


def test_a_class_of_the_reviewer_has_a_row_once_it_is_named() -> None:
    blast = replace(SLIDE.findings[0], label="blast", decision="accepted")
    named = replace(SLIDE, findings=(blast, *SLIDE.findings[1:]))

    assert "data-offered hidden>" in row_of(html_of(SLIDE), "blast")
    assert "data-offered>" in row_of(html_of(named), "blast")
    none = 100 * wilson(0, denominator(SLIDE)).high
    assert f'"interval">0.0 to {none:.1f}<' in row_of(html_of(SLIDE), "blast")
    assert "data-offered" not in row_of(html_of(SLIDE), "basophil")


def test_classes_have_the_colours_of_every_other_view() -> None:
    page = html_of(SLIDE)

    for label, colour in class_colours(SLIDE).items():
        assert f'fill="{hex_colour(colour)}"' in row_of(page, label)
    assert f'fill="{hex_colour(UNDECIDED)}"' in row_of(page, "uncertain")


def test_a_model_that_tells_no_confusion_is_named() -> None:
    silent = replace(SLIDE, provenance=replace(SLIDE.provenance, confusion=()))

    assert "does not tell its confusion" in html_of(silent)
    assert "does not tell its confusion" not in html_of(SLIDE)


def test_images_that_failed_are_told_before_any_number() -> None:
    failures = (Failure("<gone>.png", "no <image>"), Failure("b.png", "empty"))
    page = html_of(replace(SLIDE, failures=failures))

    head = page[: page.index('id="differential"')]
    assert "&lt;gone&gt;.png</bdi> could not be analysed: <bdi>no &lt;image" in head
    assert "b.png</bdi> could not be analysed: <bdi>empty" in head


def test_many_frames_with_a_warning_are_named_and_counted() -> None:
    frame = replace(SLIDE.frames[0], warnings=("pale",))
    more = tuple(replace(frame, name=f"f{number}.png") for number in range(13))

    page = html_of(replace(SLIDE, frames=(frame, *more)))

    assert "<bdi>f10.png</bdi> and 2 more; <a" in page
    assert "<details open><summary>14 in all, 14 with a warning" in page


def test_many_frames_without_a_warning_fold_away() -> None:
    more = (replace(SLIDE.frames[0], name=f"f{number}.png") for number in range(12))
    page = html_of(replace(SLIDE, frames=(*SLIDE.frames, *more)))

    assert "<details><summary>13 in all, 0 with a warning" in page
    assert "<details open><summary>1 in all" in html_of(SLIDE)


def test_a_frame_tells_its_cells_and_how_its_scale_is_known() -> None:
    report = slide(60)
    estimated = PixelSize(0.08125, "red cells", 0.054)
    first = replace(report.frames[0], pixel_size=estimated)
    page = html_of(replace(report, frames=(first, report.frames[1])))

    fields = page[page.index('id="quality"') :]
    assert re.findall(r'</th><td class="number">(\d+)</td>', fields) == ["40", "20"]
    assert "0.08125 &micro;m &plusmn; 5 %, from red cells" in fields
    assert "0.1 &micro;m, from option" in fields
    assert "60 cells in 2 frames, model" in page
    assert "40 cells in 1 frame, model" in html_of(SLIDE)


def test_the_provenance_names_the_report_and_its_review() -> None:
    word = Correction(SLIDE.frames[0].name, 1, "a", "b", "A. B.", "2026")
    report = replace(SLIDE, corrections=(word,))
    page = html_of(report)

    origin = page[page.index('id="provenance"') :]
    hashes = re.findall(r'<dd><span class="hash">(\w+)<', origin)
    assert hashes == [SLIDE.provenance.model_sha256, report_sha256(report)]
    assert "<dt>Reviewed cells</dt><dd>1</dd>" in origin


def test_lineages_and_ratios_stand_beside_the_count() -> None:
    page = html_of(SLIDE)
    found = lineage_shares(SLIDE)
    ratio = count_ratios(accepted_counts(SLIDE), class_names(), SLIDE.scheme)[0]

    shown = re.findall(r'data-lineage="([^"]*)"><span>', page)
    assert shown == [share.label for share in found]
    for share in found:
        assert (
            f'"count">{share.count}</span>\n'
            f'<span data-field="percent">{share.percent:.1f} %</span>\n'
            f'<small data-field="interval">{share.ci_low:.1f} to {share.ci_high:.1f}<'
        ) in page
    assert f'"value">{ratio.value:.2f}<' in page
    assert f'"interval">{ratio.ci_low:.2f} to {ratio.ci_high:.2f}<' in page
    assert f'"sides">{ratio.above} : {ratio.below}<' in page


def test_the_precision_asked_for_is_that_of_the_scheme() -> None:
    content = replace(SLIDE, scheme=replace(SLIDE.scheme, precision_points=40.0))
    needed = needed_cells(SLIDE)
    assert needed

    answer = f"about {needed[0]} more cells are needed ({needed[1].replace('_', ' ')})."
    assert answer in html_of(SLIDE)
    assert "this count is enough." in html_of(content)
    assert 'id="points" type="number" min="0.1" max="50" step="0.1" value="40"' in (
        html_of(content)
    )


def test_the_script_is_given_what_the_report_holds() -> None:
    first, *others = SLIDE.findings
    boxed = replace(first, cell=replace(first.cell, outline=()), runner_up="")
    report = replace(SLIDE, findings=(boxed, *others))
    cells = data_of(html_of(report), "data")["cells"]

    assert cells["runner_up"][0] == -1
    assert corners_of(cells["outline"][0]) == first.cell.box.corners
    for place, finding in enumerate(others, start=1):
        box = finding.cell.box
        assert [cells[f"{key}_px"][place] for key in ("x", "y", "width", "height")] == [
            *(box.x_px, box.y_px, box.width_px, box.height_px)
        ]
        assert set(corners_of(cells["outline"][place])) <= set(finding.cell.outline)
        assert cells["probability"][place] == finding.probability
        decision = ("accepted", "uncertain", "unknown")[cells["decision"][place]]
        assert decision == finding.decision


def test_the_map_shows_outlines_in_as_few_corners_as_the_eye_needs() -> None:
    cells = data_of(html_of(SLIDE), "data")["cells"]

    for place, finding in enumerate(SLIDE.findings):
        seen = np.array(corners_of(cells["outline"][place]), np.int32)
        whole = finding.cell.outline
        assert len(seen) < 0.8 * len(whole)
        assert max(abs(cv2.pointPolygonTest(seen, each, True)) for each in whole) <= 1


def corners_of(steps: list[int]) -> Polygon:
    return tuple(zip(accumulate(steps[::2]), accumulate(steps[1::2]), strict=True))


def test_the_script_is_given_how_the_laboratory_counts() -> None:
    frame = replace(SLIDE.frames[0], name="gpj.\u202eexe")
    report = replace(SLIDE, frames=(*SLIDE.frames, frame))
    data = data_of(html_of(report), "data")
    labels = {entry["name"]: entry for entry in data["labels"]}
    names = list(labels)

    assert data["frames"][1]["shown"] == "gpj.\ufffdexe"
    assert {n for n in names if not labels[n]["counted"]} == {*SLIDE.scheme.excluded}
    assert [n for n in names if not labels[n]["offered"]] == list(class_names())
    assert labels["myeloblast"]["lineage"] == "granulocytic"
    assert labels["band_neutrophil"]["shown"] == "band neutrophil"
    for ratio, rule in zip(data["ratios"], SLIDE.scheme.ratios, strict=True):
        assert [names[k] for k in ratio["above"]] == list(rule.above)
        assert [names[k] for k in ratio["below"]] == list(rule.below)
