"""The HTML report as a file: sealed, escaped, and of a size that can be sent."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellrot_infer.differential import differential
from cellrot_infer.outputs import Pictures, write_slide
from cellrot_infer.types import Failure, FrameRecord, Report
from cellrot_infer.writers.html import report_to_html, size_limit, write_html
from cellrot_infer.writers.json import report_sha256
from cellrot_infer.writers.pagedata import letters
from cellrot_infer.writers.thumbnail import thumbnail
from tests.infer.report_strategies import (
    HOSTILE,
    frames,
    prefixed,
    provenances,
    reports,
    texts,
)
from tests.infer.slides import patch_of, slide

SLIDE = slide(40)
some = settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)


class Outline(HTMLParser):
    """The elements of a page, their attributes, and the text inside of each kind."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)


def html_of(report: Report, previews: Mapping[str, bytes] | None = None) -> str:
    pictures = {(each.frame, each.number): b"\xff\xd8" * 40 for each in report.findings}
    return report_to_html(report, report_sha256(report), pictures, previews or {})


def test_frames_with_a_warning_are_named_before_any_number() -> None:
    one, two = (
        replace(SLIDE.frames[0], name=name, warnings=warnings)
        for name, warnings in (("clear.png", ()), ("blurred.png", ("<out of focus>",)))
    )
    page = html_of(replace(SLIDE, frames=(*SLIDE.frames, one, two)))

    head = page[: page.index('id="differential"')]
    assert "1 of 3 frames have a warning" in head
    assert "blurred.png" in head
    assert "clear.png" not in head
    fields = page[page.index('id="quality"') :]
    assert fields.index("blurred.png") < fields.index("clear.png")
    assert "&lt;out of focus&gt;" in fields


def source_of(page: str, name: str) -> str:
    found = re.search(rf'<script [^>]*id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


def data_of(page: str, name: str) -> Any:  # noqa: ANN401, any JSON
    return json.loads(source_of(page, name))


@st.composite
def whole_reports(draw: st.DrawFn) -> Report:
    """Return reports whose findings lie in their frames, as every run gives them."""
    report = draw(reports)
    records = draw(st.lists(frames, min_size=1, max_size=3, unique_by=lambda f: f.name))
    classes = tuple(draw(st.lists(texts, min_size=2, max_size=4, unique=True)))
    found = tuple(
        replace(each, frame=records[number % len(records)].name, number=number)
        for number, each in enumerate(report.findings, start=1)
    )
    origin = replace(draw(provenances), class_names=classes, confusion=())
    return replace(report, provenance=origin, frames=tuple(records), findings=found)


PLAIN = Outline(html_of(SLIDE))


@some
@given(whole_reports())
def test_no_name_becomes_markup(report: Report) -> None:
    page = Outline(html_of(report))

    assert page.tags.keys() <= PLAIN.tags.keys() | {"a", "li", "div", "ul"}
    assert page.tags["script"] == PLAIN.tags["script"] == 5
    assert page.tags["img"] == 0
    assert not {name for name in page.attributes if name.startswith("on")}


def test_no_text_of_a_report_becomes_markup() -> None:
    frames = (replace(SLIDE.frames[0], warnings=("blurred",)),)
    failures = (Failure("gone.png", "no image"),)
    full = replace(SLIDE, frames=frames, failures=failures)

    page = Outline(html_of(prefixed(full, '"><img src=x>')))

    assert page.tags["img"] == 0


def test_the_check_sees_markup_that_got_through() -> None:
    page = html_of(replace(SLIDE, name="<img src=x onerror=alert(1)>"))
    leaky = page.replace("&lt;img src=x onerror=alert(1)&gt;", "<img src=x onerror=y>")

    assert Outline(page).tags["img"] == 0
    assert Outline(leaky).tags["img"] > 0
    assert "onerror" in Outline(leaky).attributes


@some
@given(whole_reports())
def test_the_page_holds_every_cell_and_its_exact_names(report: Report) -> None:
    data = data_of(html_of(report), "data")
    labels = [entry["name"] for entry in data["labels"]]
    names = [entry["name"] for entry in data["frames"]]

    assert [labels[k] for k in data["cells"]["label"]] == [
        finding.label for finding in report.findings
    ]
    assert [names[k] for k in data["cells"]["frame"]] == [
        finding.frame for finding in report.findings
    ]
    assert data["sha256"] == report_sha256(report)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_ends_the_data_of_the_script(name: str) -> None:
    finding = replace(SLIDE.findings[0], label=name)
    source = source_of(html_of(replace(SLIDE, findings=(finding,))), "data")
    assert not set("<>&") & set(source)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_would_turn_or_break_the_text_are_made_visible(name: str) -> None:
    page = html_of(replace(SLIDE, name=name))

    title = Outline(page).texts["title"][0]
    assert not set(title) & set("\u202e\u2067\x00\u2028\udcff")
    assert page.encode("utf-8", "strict")


def test_a_name_written_from_the_right_leaves_the_text_around_it() -> None:
    page = html_of(replace(SLIDE, failures=(Failure("دم.png", "no image"),)))
    assert "<bdi>دم.png</bdi> could not be analysed" in page


def test_only_the_script_and_style_of_the_page_may_run() -> None:
    page = html_of(SLIDE)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    allowed = set(re.findall(r"sha256-[\w+/=]+", policy[1]))

    sources = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.DOTALL)
    digests = [hashlib.sha256(source.encode()).digest() for source in sources]

    assert {f"sha256-{base64.b64encode(each).decode()}" for each in digests} == allowed
    assert policy[1].startswith(
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-"
    )
    assert "unsafe" not in policy[1]


def test_nothing_is_fetched() -> None:
    page = re.sub(r"http://www\.w3\.org/2000/svg", "", html_of(SLIDE))
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)


def test_the_table_can_be_read_without_its_script() -> None:
    page = html_of(SLIDE).split("<noscript>")[0]

    for share in differential(SLIDE):
        assert share.label.replace("_", " ") in page
        if share.percent is not None:
            assert f">{share.percent:.1f}<" in page


def test_a_slide_on_which_nothing_is_known_says_so() -> None:
    unknown = [replace(finding, decision="unknown") for finding in SLIDE.findings]
    page = html_of(replace(SLIDE, findings=tuple(unknown)))

    assert "a class must first be found" in page
    assert page.count("no cells</strong>") == len(SLIDE.scheme.ratios)


def test_a_cell_without_a_picture_is_still_there() -> None:
    page = report_to_html(SLIDE, report_sha256(SLIDE), {}, {})
    assert data_of(page, "thumbnails") == [""] * 40


def test_pictures_say_what_they_are() -> None:
    first, second = SLIDE.findings[:2]
    elsewhere = replace(first, frame="other.png")
    frames = (*SLIDE.frames, replace(SLIDE.frames[0], name="other.png"))
    report = replace(SLIDE, frames=frames, findings=(first, second, elsewhere))
    pictures = {
        (first.frame, first.number): b"\xff\xd8\xff\xe0",
        (second.frame, second.number): b"RIFF1234WEBPVP8 ",
    }

    page = report_to_html(report, report_sha256(report), pictures, {})
    jpeg, webp, none = data_of(page, "thumbnails")

    assert jpeg == "data:image/jpeg;base64,/9j/4A=="
    assert webp.startswith("data:image/webp;base64,")
    assert none == ""


def test_previews_give_way_when_the_file_would_grow_too_large() -> None:
    frame = SLIDE.frames[0]
    many = tuple(FrameRecord(f"{k}", "", 9, 9, frame.pixel_size) for k in range(40))
    report = replace(SLIDE, frames=(frame, *many))
    previews = {each.name: b"\xff\xd8" * 200_000 for each in report.frames}

    page = html_of(report, previews)

    kept = [bool(picture) for picture in data_of(page, "previews")]
    assert kept[0]
    assert not kept[-1]
    assert len(page) < size_limit(len(report.findings))


def test_previews_give_way_to_the_pictures_of_cells() -> None:
    large = {(each.frame, each.number): bytes(110_000) for each in SLIDE.findings}
    previews = {SLIDE.frames[0].name: bytes(200_000)}

    page = report_to_html(SLIDE, report_sha256(SLIDE), large, previews)

    assert data_of(page, "previews") == [""]
    assert len(page) < size_limit(len(SLIDE.findings))


@pytest.mark.parametrize(("cells", "megabytes"), [(1, 6), (500, 6), (5000, 40)])
def test_the_size_allowed_grows_with_the_cells(cells: int, megabytes: float) -> None:
    assert size_limit(cells) == pytest.approx(megabytes * 1e6)


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    pictures = {
        (finding.frame, finding.number): thumbnail(patch_of(index))
        for index, finding in enumerate(SLIDE.findings)
    }
    path = tmp_path / "Befund ä.html"

    write_html(SLIDE, pictures, path)

    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(texts, unique=True, max_size=40))
def test_no_two_classes_share_a_letter(labels: list[str]) -> None:
    given_letters = letters(labels)

    used = [letter for letter in given_letters.values() if letter]
    assert len(used) == len(set(used)) == min(26, len(labels))


def test_letters_come_from_the_names() -> None:
    assert letters(["band_neutrophil", "basophil", "blast"]) == {
        "band_neutrophil": "b",
        "basophil": "a",
        "blast": "l",
    }


def test_a_page_names_the_report_that_is_written_beside_it(tmp_path: Path) -> None:
    page, report = write_slide(SLIDE, Pictures(), ["html"], tmp_path / "slide")

    named = data_of(page.read_text("utf-8"), "data")["sha256"]
    assert named == hashlib.sha256(report.read_bytes()).hexdigest()
