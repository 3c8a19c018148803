"""The HTML report in a real browser, as a technician uses it."""

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cellrot_infer.differential import differential
from cellrot_infer.frames import read_frame
from cellrot_infer.images import read_image
from cellrot_infer.patches import cut_patches
from cellrot_infer.review import apply_review, correct
from cellrot_infer.segment import segment
from cellrot_infer.types import Failure, Report
from cellrot_infer.writers.html import report_to_html, write_html
from cellrot_infer.writers.json import report_sha256, report_to_json
from cellrot_infer.writers.markup import readable
from cellrot_infer.writers.thumbnail import preview, thumbnail
from cellrot_train.corrections import with_corrections
from cellrot_train.data import load_patch_set
from tests.e2e.browser import Page, chromium
from tests.infer.report_strategies import HOSTILE
from tests.infer.slides import SAMPLES, frame_of, patch_of, slide

SLIDE = slide(130)
FIELD = Path(__file__).parents[1] / "data" / "frames" / "pbc_fields" / "EO_16004.jpg"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def page(downloads: Path) -> Iterator[Page]:
    with chromium(downloads) as browser:
        yield Page(browser, downloads)


@pytest.fixture(scope="module")
def report_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a folder, größer") / "Marrow 17.html"
    write_html(SLIDE, thumbnails_of(SLIDE), path, previews=previews_of(SLIDE))
    return path


@pytest.fixture
def opened(page: Page, report_path: Path) -> Page:
    page.open(report_path)
    page.complaints()
    return page


def thumbnails_of(report: Report) -> dict[tuple[str, int], bytes]:
    return {
        (finding.frame, finding.number): thumbnail(patch_of(index))
        for index, finding in enumerate(report.findings)
    }


def previews_of(report: Report) -> dict[str, bytes]:
    return {f.name: preview(frame_of(report, f.name).pixels) for f in report.frames}


def written_words(page: str) -> list[str]:
    """Return the words of the count, those that are hidden among them."""
    count = re.search(r'<section id="differential".*?</section>', page, re.DOTALL)
    assert count
    return html.unescape(re.sub(r"<[^>]*>", " ", count[0])).split()


def test_the_page_opens_from_a_file_and_asks_for_nothing(opened: Page) -> None:
    opened.reload()

    assert opened.complaints() == []
    assert opened.text("h1") == "Marrow 17"
    assert "Research use only" in opened.text("header")
    assert opened.run("return performance.getEntriesByType('resource').length") == 0
    opened.wait(
        lambda: opened.run(
            "return [...document.querySelectorAll('.tile img')]"
            ".every(image => image.naturalWidth === 160)"
        )
    )


def test_the_script_counts_what_was_written(opened: Page) -> None:
    written = report_to_html(SLIDE, report_sha256(SLIDE), {}, {})
    live = opened.run("return document.getElementById('differential').outerHTML")

    assert written_words(live) == written_words(written)
    assert opened.counts()["uncertain"] == sum(
        finding.decision == "uncertain" for finding in SLIDE.findings
    )


def test_the_chart_is_drawn_to_scale(opened: Page) -> None:
    bars = opened.run(
        "return [...document.querySelectorAll('#differential tr[data-row]')]"
        ".filter(row => !row.hidden && row.querySelector('rect[data-field]'))"
        ".map(row => ["
        " row.querySelector('rect[data-field]').getBoundingClientRect().width,"
        " Number(row.querySelector('[data-field=percent]').textContent)])"
    )
    longest, most = max(bars, key=lambda bar: bar[1])

    assert longest > 50
    for width, percent in bars:
        assert abs(width / longest - percent / most) < 0.02


def test_a_class_can_be_shown_alone(opened: Page) -> None:
    opened.choose("#filter-class", "lymphocyte")

    shown = {tile.get_attribute("aria-label") or "" for tile in opened.all(".tile")}

    expected = sum(finding.label == "lymphocyte" for finding in SLIDE.findings)
    assert len(shown) == expected
    assert all(name.startswith("lymphocyte, ") for name in shown)


def test_cells_in_doubt_come_first_and_can_be_shown_alone(opened: Page) -> None:
    opened.choose("#filter-state", "in doubt")

    doubtful = sum(finding.decision != "accepted" for finding in SLIDE.findings)
    assert opened.run("return order.length") == doubtful
    assert len(opened.all(".tile")) == len(opened.all(".tile.doubt")) > 0


def test_a_letter_names_the_class_and_the_count_follows(opened: Page) -> None:
    opened.choose("#filter-class", "lymphocyte")
    before = opened.counts()
    opened.press(Keys.END, "m")  # the surest one, which is in no doubt

    after = opened.counts()
    assert after["lymphocyte"] == before["lymphocyte"] - 1
    assert after["metamyelocyte"] == before["metamyelocyte"] + 1
    assert "1 changed" in opened.text("#progress")
    assert "metamyelocyte" in opened.value("#announce", "textContent")

    opened.press(Keys.BACKSPACE)
    assert opened.counts() == before
    opened.press(Keys.CONTROL + "y")
    assert opened.counts() == after


def test_several_cells_at_once(opened: Page) -> None:
    opened.choose("#filter-class", "lymphocyte")
    opened.choose("#filter-state", "all cells")
    monocytes = opened.count("monocyte")
    opened.press(Keys.END, Keys.SHIFT + Keys.ARROW_LEFT + Keys.ARROW_LEFT + Keys.NULL)
    tiles = opened.all(".tile")
    ActionChains(opened.browser).key_down(Keys.CONTROL).click(tiles[-4]).key_up(
        Keys.CONTROL
    ).perform()
    assert len(opened.all('.tile[aria-selected="true"]')) == 4

    opened.press("o")

    assert opened.count("monocyte") == monocytes + 4


def test_the_mouse_is_enough(opened: Page) -> None:
    erythroblasts = opened.count("erythroblast")
    opened.choose("#filter-class", "basophil")
    opened.all(".tile")[-1].click()
    label = "erythroblast"
    buttons = opened.all(".palette button")
    next(button for button in buttons if label in button.text).click()
    assert opened.count(label) == erythroblasts + 1

    opened.find("#undo").click()
    assert opened.count(label) == erythroblasts


def test_a_closed_tab_loses_nothing(opened: Page) -> None:
    opened.press(Keys.HOME, "m", "m", Keys.ENTER)
    before = opened.counts(), opened.text("#progress")

    opened.reload()

    assert (opened.counts(), opened.text("#progress")) == before
    opened.press(Keys.BACKSPACE, Keys.BACKSPACE, Keys.BACKSPACE)
    assert opened.text("#progress").startswith("0 of ")


@pytest.mark.parametrize(
    "kept", ["{", "null", '{"version":1,"steps":[{"cells":[9e9]}]}']
)
def test_spoilt_progress_does_not_stop_the_page(opened: Page, kept: str) -> None:
    opened.run("localStorage.setItem(STORE, arguments[0])", kept)
    opened.reload()

    opened.press(Keys.HOME, "m")

    assert opened.complaints() == []
    assert "1 changed" in opened.text("#progress")


def test_the_keyboard_alone_reaches_the_cells(opened: Page) -> None:
    body = opened.find("body")
    body.send_keys(Keys.TAB)
    opened.browser.switch_to.active_element.send_keys(Keys.ENTER)  # skip to the cells
    for _ in range(12):
        opened.browser.switch_to.active_element.send_keys(Keys.TAB)
        if opened.browser.switch_to.active_element.get_attribute("id") == "gallery":
            break

    opened.browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ENTER)

    assert "confirmed" in opened.text(".tile.reviewed")


def test_a_cell_is_shown_where_it_lies_in_its_frame(opened: Page) -> None:
    opened.choose("#filter-class", "monocyte")
    opened.press(Keys.HOME)
    finding = SLIDE.findings[int(opened.value(".map .here", "data-cell"))]

    corners = opened.value(".map .here", "points").split()
    assert tuple(map(int, corners[3].split(","))) in finding.cell.outline
    assert opened.value(".map image", "href").startswith("data:image/jpeg")
    assert finding.frame in opened.text(".detail .where")


def test_saved_corrections_give_the_count_that_the_page_shows(
    opened: Page, downloads: Path, tmp_path: Path
) -> None:
    opened.press(Keys.HOME, "m", "o", Keys.ENTER, Keys.END, "l")
    shown = opened.counts()
    opened.find("#reviewer").send_keys("=A. Müller, PhD")
    opened.find("#save-corrections").click()
    corrections = opened.saved("Marrow 17.corrections.csv")
    report_path = tmp_path / "Marrow 17.json"
    report_path.write_text(report_to_json(SLIDE), encoding="utf-8")

    corrected, _, _ = apply_review(report_path, corrections, tmp_path)

    counted = {readable(row.label): row.count for row in differential(corrected)}
    assert {label: n for label, n in counted.items() if n} == {
        label: n for label, n in shown.items() if n
    }
    assert {word.reviewer for word in corrected.corrections} == {"=A. Müller, PhD"}
    corrections.unlink()


def test_saved_corrections_are_training_labels(
    page: Page, downloads: Path, tmp_path: Path
) -> None:
    frame = read_frame(FIELD, pixel_size_um=0.1)
    cell = segment(frame)[0]
    found = replace(SLIDE.findings[0], frame=frame.name, cell=cell)
    record = replace(SLIDE.frames[0], name=frame.name, sha256=frame.sha256)
    report = replace(SLIDE, frames=(record,), findings=(found,))
    write_html(report, {}, tmp_path / "field.html")

    page.open(tmp_path / "field.html")
    page.press(Keys.HOME, "l")
    page.find("#reviewer").send_keys("A. B.")
    page.find("#save-corrections").click()
    labels = page.saved("field.corrections.csv")

    joined = with_corrections(
        SAMPLES, labels, FIELD.parent, tmp_path / "runs", patch_pixel_um=0.1
    )
    patch = load_patch_set(joined.folder).records[-1]
    assert (patch.label, patch.split) == ("lymphocyte", "train")
    written = read_image(patch.file.read_bytes(), "")
    np.testing.assert_array_equal(written, cut_patches(frame, [cell], 0.1)[0])


def test_a_signed_copy_says_who_and_cannot_be_changed(opened: Page) -> None:
    opened.press(Keys.HOME, "m", "o")
    counts = opened.counts()
    opened.find("#reviewer").send_keys("</script><script>window.pwned=1</script>\u202e")
    opened.find("#signoff-form button[type=submit]").click()
    opened.open(opened.saved("Marrow 17.signed.html"))
    opened.find("#save-corrections").click()
    corrections = opened.saved("Marrow 17.corrections.csv")

    assert opened.counts() == counts
    signed = opened.text("#signed")
    assert "2 cells reviewed" in signed
    assert "</script><script>window.pwned=1</script>\ufffd" in signed
    assert hashlib.sha256(corrections.read_bytes()).hexdigest() in signed
    opened.press(Keys.HOME, "l", Keys.BACKSPACE)
    assert opened.counts() == counts
    assert opened.run("return window.pwned") is None
    assert opened.complaints() == []


def hostile(report: Report) -> Report:
    frames = tuple(
        replace(report.frames[0], name=name, sha256=name, warnings=(name,))
        for name in HOSTILE
    )
    findings = tuple(
        replace(finding, frame=name, label=name, runner_up=name)
        for finding, name in zip(report.findings, HOSTILE, strict=False)
    )
    origin = replace(
        report.provenance,
        model=HOSTILE[0],
        class_names=HOSTILE,
        settings=tuple((name, name) for name in HOSTILE),
        confusion=(),
    )
    failures = tuple(Failure(name, name) for name in HOSTILE)
    return Report(HOSTILE[1], origin, frames, findings, failures, report.scheme)


def test_hostile_names_are_shown_and_never_run(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    report = hostile(SLIDE)
    write_html(report, {}, path)

    page.open(path)
    page.press(Keys.HOME, *Keys.ENTER * len(HOSTILE))

    assert page.complaints() == []
    assert page.text("h1") == "</script><img src=x onerror=alert(1)>"
    assert page.run("return document.images.length") == len(page.all(".tile img")) + 1
    assert page.run("return document.scripts.length") == 5
    seen = page.find("body").text
    assert "<script>alert(1)</script>" in seen
    assert not set(seen) & set("\u202e\u2067\u2028")
    width = page.run("return document.documentElement.scrollWidth")
    assert width <= page.run("return innerWidth")

    page.find("#reviewer").send_keys("A. B.")
    page.find("#save-corrections").click()
    corrections = page.saved("hostile.corrections.csv").read_text(encoding="utf-8")
    words = correct(report, corrections).corrections
    assert [(word.frame, word.label) for word in words] == [
        (finding.frame, finding.label) for finding in report.findings
    ]


@pytest.mark.parametrize("width_px", [1280, 420])
def test_no_barrier_is_found(opened: Page, width_px: int) -> None:
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.press(Keys.HOME, "m", Keys.ARROW_RIGHT, " ")
        found = Axe().run(opened.browser)["violations"]
    finally:
        opened.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_the_barrier_check_sees_pale_text(opened: Page) -> None:
    opened.run("document.querySelector('.facts').style.color = '#cccccc'")
    found = Axe().run(opened.browser)["violations"]
    assert [each["id"] for each in found] == ["color-contrast"]


def test_thousands_of_cells_do_not_crowd_the_page(page: Page, tmp_path: Path) -> None:
    many = slide(2500)
    path = tmp_path / "many.html"
    write_html(many, {}, path)

    page.open(path)
    page.press(Keys.END)

    assert 0 < len(page.all(".tile")) < 250
    last = page.find(".tile.current").find_element(By.CSS_SELECTOR, ".first")
    assert last.is_displayed()
