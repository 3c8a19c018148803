"""The picture of an HTML report in the README: a shipped model on the test samples.

    python -m benchmarks.screenshot [--model NAME] [--out docs/report.webp]

The test cells of tests/data stand side by side as microscope frames of a slide; the
model finds, classifies and counts them, and Chromium shows the page.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cellrot_infer.classify import Classifier
from cellrot_infer.files import write_bytes
from cellrot_infer.models import DEFAULT_MODEL
from cellrot_infer.outputs import Pictures, frame_pictures
from cellrot_infer.pipeline import FrameResult, analyze_frames, compose_report
from cellrot_infer.types import RGB, Frame, PixelSize
from cellrot_infer.writers.html import write_html
from tests.e2e.browser import Page, chromium

SAMPLES = Path("tests/data/patches")
COLUMNS, ROWS, PATCH_PX = 8, 5, 256
FADE_PX = 24
WINDOW_PX = (1280, 1560)


def main() -> None:
    """Count the slide and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, default=Path("docs/report.webp"))
    options = parser.parse_args()
    classifier = Classifier.load(options.model, device="cpu")
    analyzed = analyze_frames(mosaics(), classifier)
    results = [result for result in analyzed if isinstance(result, FrameResult)]
    report = compose_report(results, classifier, name="Blood smear, test cells")
    pictures = Pictures()
    for result in results:
        for number, small in frame_pictures(result, ("html",)).items():
            pictures.add(result.frame.name, number, small)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_html(report, pictures.thumbnails, page, previews=pictures.previews)
        write_bytes(options.out, encoded(picture(page), options.out.suffix))
    print(f"wrote {options.out}: {len(report.findings)} cells")


def mosaics() -> list[Frame]:
    """Return the test samples as frames of 8 x 5 patches at 0.1 um a pixel."""
    lines = (SAMPLES / "index.csv").read_text(encoding="utf-8").splitlines()
    tested = [row["path"] for row in csv.DictReader(lines) if row["split"] == "test"]
    tested.sort(key=lambda path: path.rsplit("_")[-1])  # mixes the classes
    size = COLUMNS * ROWS
    return [mosaic(tested[k : k + size], k // size + 1) for k in range(0, 80, size)]


def mosaic(paths: list[str], number: int) -> Frame:
    """Return the patches at `paths` as one frame."""
    pixels = np.full((ROWS * PATCH_PX, COLUMNS * PATCH_PX, 3), 235, np.uint8)
    for place, path in enumerate(paths):
        y, x = (PATCH_PX * k for k in divmod(place, COLUMNS))
        pixels[y : y + PATCH_PX, x : x + PATCH_PX] = patch(SAMPLES / path)
    return Frame(f"field {number}.png", pixels, PixelSize(0.1, "option"))


def patch(path: Path) -> RGB:
    """Return the image at `path`, faded into glass at its edge.

    What a patch shows of its neighbours would else be cut in two at the seams.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.float64)
    along = np.arange(PATCH_PX) - (PATCH_PX - 1) / 2
    radius = np.hypot(along[:, None], along)
    shown = ((PATCH_PX / 2 - radius) / FADE_PX).clip(0, 1)[..., None]
    glass = np.percentile(pixels, 90, axis=(0, 1))
    return np.rint(shown * pixels + (1 - shown) * glass).astype(np.uint8)


def picture(path: Path) -> bytes:
    """Return the page at `path` as a PNG, as it stands in a window of 1280 pixels."""
    width, height = WINDOW_PX
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    with chromium(path.parent) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page = Page(browser, path.parent)
        page.open(path)
        page.wait(
            lambda: page.run("return [...document.images].every(i => i.complete)")
        )
        page.run("document.documentElement.style.overflow = 'hidden'")  # no scroll bar
        return bytes(browser.get_screenshot_as_png())


def encoded(png: bytes, suffix: str) -> bytes:
    """Return the image in `png` as the kind of file that `suffix` names."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    done, data = cv2.imencode(suffix, np.asarray(image), [cv2.IMWRITE_WEBP_QUALITY, 85])
    if not done:
        raise ValueError(f"no {suffix} file can be made of a screenshot")
    return data.tobytes()


if __name__ == "__main__":
    main()
