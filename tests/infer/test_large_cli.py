"""`cellrot-infer slide` on stitched images and whole slides, as a user runs it."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from cellrot_infer import images
from cellrot_infer.cli import app
from cellrot_infer.types import RGB
from tests.infer.scanners import write_svs
from tests.infer.stitched import stitched

UM = 0.17
PIXELS = stitched(640, 520, UM)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IN_PARTS_PX", 100_000)
    monkeypatch.setattr("cellrot_infer.overview.SIDE_PX", 160)


def saved(folder: Path, pixels: RGB = PIXELS) -> Path:
    path = folder / "in" / "slide.tif"
    path.parent.mkdir(exist_ok=True)
    options: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb"}
    tifffile.imwrite(path, pixels, **options)
    return path


def run(path: Path, model: Path, *options: str) -> Result:
    out = str(path.parents[1] / "out")
    common = ("--model", str(model), "--pixel-size", str(UM), "--out", out)
    return CliRunner().invoke(app, ["slide", str(path), *common, *options])


def cells(path: Path) -> list[dict[str, str]]:
    file = path.parents[1] / "out" / "slide.cells.csv"
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_large_tiff_is_counted_and_all_its_reports_are_written(
    tmp_path: Path, tiny_model: Path
) -> None:
    path = saved(tmp_path)
    done = run(path, tiny_model, "--report", "csv,json,html,geojson,overlay")
    out = tmp_path / "out"
    report = json.loads((out / "slide.json").read_text(encoding="utf-8"))
    features = json.loads((out / "slide.geojson").read_text(encoding="utf-8"))
    overlay = cv2.imread(str(out / "slide.overlay.png"))

    assert done.exit_code == 0
    assert len(cells(path)) > 5
    assert report["frames"][0]["width_px"] == 640
    assert len(report["frames"][0]["sha256"]) == 64
    assert len(features["features"]) == len(cells(path))
    assert overlay is not None
    assert overlay.shape[1] == 160
    page = (out / "slide.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == len(cells(path)) + 1


def test_a_region_is_counted_and_named_in_the_report(
    tmp_path: Path, tiny_model: Path
) -> None:
    path = saved(tmp_path)
    run(path, tiny_model)
    whole = {row["x_px"] + "," + row["y_px"] for row in cells(path)}
    done = run(path, tiny_model, "--region", "100,80,300,300", "--report", "csv,json")
    part = {row["x_px"] + "," + row["y_px"] for row in cells(path)}
    report = json.loads((tmp_path / "out" / "slide.json").read_text(encoding="utf-8"))

    assert done.exit_code == 0
    assert 0 < len(part) < len(whole)
    assert part < whole
    assert ["region", "100,80,300,300"] in report["provenance"]["settings"]


def test_a_scanners_slide_takes_its_scale_from_the_file(
    tmp_path: Path, tiny_model: Path
) -> None:
    path = tmp_path / "in" / "slide.svs"
    path.parent.mkdir()
    write_svs(path, PIXELS, UM)
    out = tmp_path / "out"
    common = ["--model", str(tiny_model), "--out", str(out), "--report", "csv,json"]
    done = CliRunner().invoke(
        app, ["slide", str(path.parent), *common, "--max-cells", "4"]
    )
    report = json.loads((out / "in.json").read_text(encoding="utf-8"))

    assert done.exit_code == 0
    assert report["frames"][0]["pixel_size"] == {
        "um": UM,
        "source": "metadata",
        "spread": 0.0,
    }
    assert len(report["findings"]) == 4
    assert "stopped at 4 cells, as asked; 1 of 1 tiles" in done.stderr


@pytest.mark.parametrize(
    "region", ["1,2,3", "1,2,3,x", "0,0,0,10", "-1,0,5,5", "1.5,0,5,5", "everywhere"]
)
def test_what_is_no_rectangle_is_wrong_usage(
    tmp_path: Path, tiny_model: Path, region: str
) -> None:
    done = run(saved(tmp_path), tiny_model, "--region", region)

    assert done.exit_code == 2
    assert "is no rectangle; expected X,Y,W,H" in " ".join(done.stderr.split())


def test_a_level_that_is_not_there_is_a_failure_of_the_image(
    tmp_path: Path, tiny_model: Path
) -> None:
    done = run(saved(tmp_path), tiny_model, "--level", "1")

    assert done.exit_code == 3
    assert "has level 0 only, --level 1 was asked for" in done.stderr


def test_a_large_image_is_not_counted_again_after_it_is_done(
    tmp_path: Path, tiny_model: Path
) -> None:
    path = saved(tmp_path)
    first = run(path, tiny_model)
    path.touch()  # so that its hash decides
    again = run(path, tiny_model, "--resume")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.stdout == again.stdout


def test_a_png_of_too_many_pixels_is_refused_with_a_way_out(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100_000)
    path = tmp_path / "in" / "slide.png"
    path.parent.mkdir()
    path.write_bytes(np.asarray(cv2.imencode(".png", PIXELS)[1]).tobytes())
    done = run(path, tiny_model)

    assert done.exit_code == 3
    assert "save it as a tiled TIFF" in " ".join(done.stderr.split())
