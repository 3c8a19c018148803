"""A real Chromium without a window, and the report as it stands in it."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

PATIENCE_S = 20  # a busy machine, never a fixed wait
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to sandbox itself as root, as in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
)


@contextmanager
def chromium(downloads: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium; without one, skip, and fail in CI."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        reason = "no Chromium here: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(10 * PATIENCE_S)  # a check of the whole page takes long
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The report in the browser, in the words of the person who reads it."""

    def __init__(self, browser: webdriver.Chrome, downloads: Path) -> None:
        self.browser = browser
        self.downloads = downloads

    def open(self, path: Path) -> None:
        """Open the report at `path` as if for the first time."""
        self.browser.get(path.as_uri())
        self.browser.execute_script("localStorage.clear()")
        self.reload()

    def reload(self) -> None:
        """Load the page again, as after closing the tab."""
        self.browser.refresh()

    def find(self, selector: str) -> WebElement:
        """Return the first element that the CSS `selector` names."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element that the CSS `selector` names."""
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text that the first element of `selector` shows."""
        return self.find(selector).text

    def run(self, script: str, *values: object) -> Any:  # noqa: ANN401, whatever the page returns
        """Return the value of `script`, run in the page."""
        return self.browser.execute_script(script, *values)

    def press(self, *keys: str) -> None:
        """Press keys on the gallery, one after the other."""
        self.find("#gallery").send_keys(*keys)

    def choose(self, select: str, option: str) -> None:
        """Choose an `option` of the list `select`; return once the page follows."""
        chosen = self.find(select)
        options = chosen.find_elements(By.TAG_NAME, "option")
        wanted = next(entry for entry in options if entry.text == option)
        if wanted.is_selected():
            return
        # the browser tells the page of a choice only after the click has returned
        self.run(
            "delete arguments[0].dataset.chosen; arguments[0].addEventListener("
            "'change', event => event.target.dataset.chosen = '', {once: true})",
            chosen,
        )
        wanted.click()
        self.wait(lambda: chosen.get_attribute("data-chosen") is not None)

    def count(self, label: str) -> int:
        """Return the number of cells that the row of `label` shows."""
        return self.counts()[label]

    def value(self, selector: str, attribute: str) -> str:
        """Return an attribute of the first element of `selector`."""
        return self.find(selector).get_attribute(attribute) or ""

    def counts(self) -> dict[str, int]:
        """Return the cells of each row that is shown."""
        rows = self.run(
            "return [...document.querySelectorAll('#differential tr[data-row]')]"
            ".filter(row => !row.hidden).map(row => [row.cells[0].textContent.trim(),"
            " Number(row.cells[1].textContent)])"
        )
        return dict(rows)

    def saved(self, name: str) -> Path:
        """Return the file that the browser saved as `name`, once it is complete."""
        path = self.downloads / name
        # an empty file holds the name until all of it is there
        self.wait(lambda: path.exists() and path.stat().st_size > 0)
        return path

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Wait until `is_done`, and fail when that takes too long."""
        end = time.monotonic() + PATIENCE_S
        while not is_done():
            assert time.monotonic() < end, "the browser did not get there"
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """Return what the console says: errors and refusals of the policy."""
        return [entry["message"] for entry in self.browser.get_log("browser")]
