"""Large images are counted as frames are, wherever they are cut."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from cellrot_infer import pipeline, scan, tilecells
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import FrameError
from cellrot_infer.largeimage import LargeImage, in_tiles, open_large
from cellrot_infer.pipeline import FrameResult, analyze_frame, analyze_large
from cellrot_infer.scan import Quiet
from cellrot_infer.tiles import inside, middle_px
from cellrot_infer.types import (
    RGB,
    Box,
    Frame,
    Patches,
    PixelSize,
    Predictions,
    Selection,
    StainColours,
)
from tests.conftest import write_model
from tests.infer.scanners import halved
from tests.infer.stitched import stitched

UM = 0.17
PIXELS = stitched(640, 520, UM)
FRAME = Frame("a.png", PIXELS, PixelSize(UM, "option"))


@pytest.fixture
def classifier(tiny_model: Path) -> Classifier:
    return Classifier.load(tiny_model, device="cpu")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into tiles of 51 um, so that small images have many."""
    monkeypatch.setattr("cellrot_infer.tiles.Grid.tiles.__defaults__", (2,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> FrameResult:
    """Return what is found in the whole image, in tiles of the usual size."""
    model = write_model(tmp_path_factory.mktemp("whole"))
    return analyze_large(in_tiles(FRAME), Classifier.load(model, device="cpu"))


def saved(folder: Path, pixels: RGB = PIXELS, **options: Any) -> Path:  # noqa: ANN401
    """Write `pixels` as a tiled TIFF that knows its pixel size."""
    path = folder / "slide.tif"
    told: dict[str, Any] = {
        "resolution": (1e4 / UM, 1e4 / UM),
        "resolutionunit": "CENTIMETER",
    }
    tiled: dict[str, Any] = {
        "tile": (128, 128),
        "photometric": "rgb",
        "compression": "zlib",
    }
    tifffile.imwrite(path, pixels, **tiled, **told, **options)
    return path


def pyramid(path: Path) -> Path:
    """Write `PIXELS` and a copy half as large."""
    options: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(PIXELS, subifds=1, **options)
        writer.write(halved(PIXELS), subfiletype=1, **options)
    return path


def counted(image: LargeImage, classifier: Classifier, **chosen: Any) -> FrameResult:  # noqa: ANN401
    return analyze_large(image, classifier, Selection(**chosen))


def test_a_file_read_in_parts_gives_the_findings_of_a_frame_in_memory(
    tmp_path: Path, classifier: Classifier, whole: FrameResult
) -> None:
    image = open_large(saved(tmp_path))
    in_parts = counted(image, classifier)

    assert len(in_parts.findings) > 5
    assert in_parts.record.pixel_size.um == pytest.approx(UM)
    for one, other in zip(in_parts.findings, whole.findings, strict=True):
        assert (one.cell.box, one.label) == (other.cell.box, other.label)
    image.close()


def test_a_frame_that_fits_is_one_piece_and_a_larger_one_is_not(
    classifier: Classifier, whole: FrameResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_piece = analyze_frame(FRAME, classifier)
    monkeypatch.setattr(pipeline, "fits", lambda frame: False)
    tiled = analyze_frame(FRAME, classifier)

    assert one_piece.frame is FRAME
    assert tiled.findings == whole.findings != one_piece.findings
    assert len(tiled.findings) == len(one_piece.findings)


def test_cells_of_a_strange_soft_slide_are_sharpened_alike_in_any_tiles(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_red = (0.2, 0.9, 0.387)
    home = StainColours(red_cells=other_red, nuclei=(0.8, 0.55, 0.24))
    classifier.card = replace(classifier.card, stain=home, focus=0.45)
    small = counted(in_tiles(FRAME), classifier)
    monkeypatch.setattr("cellrot_infer.tiles.Grid.tiles.__defaults__", (16,))
    large = counted(in_tiles(FRAME), classifier)
    classifier.card = replace(classifier.card, focus=0.0)
    unsharpened = counted(in_tiles(FRAME), classifier)

    assert small.findings == large.findings != unsharpened.findings


def test_a_region_gives_the_cells_that_the_whole_has_there(
    classifier: Classifier, whole: FrameResult
) -> None:
    image = in_tiles(FRAME)
    region = Box(133, 101, 311, 259)
    part = counted(image, classifier, region=region)
    there = [f.cell for f in whole.findings if inside(region, *middle_px(f.cell))]

    assert 0 < len(there) < len(whole.findings)
    assert [finding.cell for finding in part.findings] == there
    assert [finding.number for finding in part.findings] == list(
        range(1, len(there) + 1)
    )
    assert part.record == whole.record


def test_a_region_of_one_pixel_has_the_cell_whose_nucleus_is_around_it(
    classifier: Classifier, whole: FrameResult
) -> None:
    for finding in whole.findings:
        x, y = middle_px(finding.cell)
        region = Box(int(x), int(y), 1, 1)
        part = counted(in_tiles(FRAME), classifier, region=region, max_cells=1)

        assert [found.cell for found in part.findings] == [finding.cell]


def test_a_part_of_a_frame_is_counted_as_that_of_a_large_image(
    classifier: Classifier,
) -> None:
    every = analyze_frame(FRAME, classifier).findings
    for finding in every[:3]:
        x, y = middle_px(finding.cell)
        part = analyze_frame(FRAME, classifier, Selection(Box(int(x), int(y), 1, 1)))
        assert [found.cell for found in part.findings] == [finding.cell]

    some = analyze_frame(FRAME, classifier, Selection(max_cells=2))

    assert some.findings == every[:2]
    assert some.record.warnings == ("stopped at 2 cells, as asked",)


def test_a_region_counts_in_pixels_of_the_image_at_any_level(
    tmp_path: Path, classifier: Classifier
) -> None:
    image = open_large(pyramid(tmp_path / "slide.tif"), level=1, pixel_size_um=UM)
    region = Box(330, 100, 310, 420)  # beyond the smaller copy, of 320 x 260
    every = counted(image, classifier, level=1).findings
    part = counted(image, classifier, level=1, region=region).findings
    there = [f.cell for f in every if inside(region, *middle_px(f.cell))]
    image.close()

    assert 0 < len(there) < len(every)
    assert [finding.cell for finding in part] == there


def test_a_region_outside_of_the_image_is_refused(classifier: Classifier) -> None:
    selection = Selection(Box(640, 0, 50, 50))
    reason = r"a\.png: --region lies outside of its 640 x 520 pixels"

    with pytest.raises(FrameError, match=reason):
        analyze_large(in_tiles(FRAME), classifier, selection)
    with pytest.raises(FrameError, match=reason):
        analyze_frame(FRAME, classifier, selection)


def test_no_more_cells_are_counted_than_asked_for_and_they_are_from_all_over(
    classifier: Classifier, whole: FrameResult
) -> None:
    some = counted(in_tiles(FRAME), classifier, max_cells=4)

    assert len(some.findings) == 4
    assert {f.cell for f in some.findings} < {f.cell for f in whole.findings}
    assert np.ptp([f.cell.box.y_px for f in some.findings]) > 150
    assert any(
        "stopped at 4 cells, as asked" in warning for warning in some.record.warnings
    )
    assert not whole.record.warnings


def test_cells_of_a_smaller_copy_are_given_in_pixels_of_the_image(
    tmp_path: Path, classifier: Classifier
) -> None:
    path = pyramid(tmp_path / "slide.tif")
    results = []
    for level in (0, 1):
        image = open_large(path, level=level, pixel_size_um=UM)
        results.append(counted(image, classifier, level=level))
        patches = np.stack(list(results[-1].patches))
        assert patches.shape == (len(results[-1].findings), 256, 256, 3)
        image.close()
    fine, coarse = results

    assert coarse.record == fine.record
    boxes = [finding.cell.box for finding in fine.findings]
    near = [
        min(
            abs(box.x_px - f.cell.box.x_px) + abs(box.y_px - f.cell.box.y_px)
            for box in boxes
        )
        for f in coarse.findings
    ]
    assert len(near) > 0.8 * len(boxes)
    assert np.median(near) < 10
    areas = [sum(f.cell.area_um2 for f in each.findings) for each in results]
    assert areas[1] == pytest.approx(areas[0], rel=0.15)


def test_patches_are_cut_again_as_they_were_classified(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RGB] = []
    classify = classifier.classify

    def watched(patches: Patches) -> Predictions:
        seen.extend(patches)
        return classify(patches)

    monkeypatch.setattr(classifier, "classify", watched)
    image = in_tiles(FRAME)
    again = list(counted(image, classifier).patches)

    assert {patch.tobytes() for patch in again} == {patch.tobytes() for patch in seen}


def test_empty_glass_is_skipped(classifier: Classifier) -> None:
    glass = np.full((900, 1100, 3), 226, np.uint8)
    glass[:250, :250] = PIXELS[200:450, 300:550]
    found = scan.scan(in_tiles(Frame("a", glass, PixelSize(UM, "option"))), classifier)

    assert found.cells
    assert found.seen == found.tiles
    assert found.empty > found.tiles / 2


def test_an_image_of_glass_alone_has_no_cells(classifier: Classifier) -> None:
    glass = np.full((900, 1100, 3), 226, np.uint8)

    assert (
        counted(
            in_tiles(Frame("a", glass, PixelSize(UM, "option"))), classifier
        ).findings
        == ()
    )


def test_what_speaks_against_tiles_is_told_with_their_number(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred = SimpleNamespace(focus=0.2, warnings=("the field is out of focus",))
    monkeypatch.setattr(tilecells, "field_quality", lambda frame, cells: blurred)
    result = counted(in_tiles(FRAME), classifier)

    (warning,) = result.record.warnings
    assert re.fullmatch(r"[2-6] of 6 tiles with cells: the field is out of .*", warning)


def test_the_overview_shows_the_image(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellrot_infer.overview.SIDE_PX", 160)
    image = in_tiles(FRAME)
    view = counted(image, classifier).frame

    expected = halved(halved(PIXELS)).astype(int)
    assert view.pixels.shape == (130, 160, 3)
    assert view.pixel_size_um == pytest.approx(4 * UM)
    assert np.abs(view.pixels - expected).mean() < 3


class Steps(Quiet):
    """Adds up what it is told."""

    expected = done = 0

    def expect(self, steps: int) -> None:
        self.expected += steps

    def advance(self) -> None:
        self.done += 1


@pytest.mark.parametrize("max_cells", [None, 3])
def test_as_many_steps_are_done_as_expected(
    classifier: Classifier, max_cells: int | None
) -> None:
    steps = Steps()
    image = in_tiles(FRAME)
    analyze_large(image, classifier, Selection(max_cells=max_cells), steps)

    assert steps.done == steps.expected > 0


def test_damage_in_the_middle_of_a_slide_is_a_failure_of_that_slide(
    tmp_path: Path, classifier: Classifier
) -> None:
    path = saved(tmp_path)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[8]
    data = bytearray(path.read_bytes())
    data[start : start + 100] = bytes(100)
    path.write_bytes(data)
    image = open_large(path)
    result = pipeline.analyze_or_fail(image, classifier)
    image.close()

    assert "damaged near" in str(result)
