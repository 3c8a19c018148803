"""Files of slide scanners show what was scanned, at the scanner's scale."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellrot_infer.errors import FrameError
from cellrot_infer.images import is_large
from cellrot_infer.largeimage import open_large
from cellrot_infer.tiffraster import TiffRaster
from cellrot_infer.types import Box
from cellrot_infer.wholeslide import WholeSlide
from tests.infer.scanners import halved, write_dicom, write_svs
from tests.infer.stitched import stitched

PIXELS = stitched(700, 500, 0.1)
PART = Box(150, 90, 300, 280)


def written(kind: str, folder: Path) -> Path:
    if kind == "svs":
        return write_svs(folder / "slide.svs", PIXELS, 0.1)
    return write_dicom(folder, PIXELS, 0.1)


@pytest.mark.parametrize("kind", ["svs", "dicom"])
def test_a_slide_shows_what_was_scanned(tmp_path: Path, kind: str) -> None:
    path = written(kind, tmp_path)
    image = open_large(path)
    smaller = open_large(path, level=1)
    part = PIXELS[PART.y_px : PART.y_px + PART.height_px, PART.x_px :][
        :, : PART.width_px
    ]

    assert is_large(path)
    assert image.size_px == (700, 500)
    assert (image.pixel_size.source, round(image.pixel_size.um, 6)) == ("metadata", 0.1)
    assert np.abs(image.read(PART).astype(int) - part).mean() < 3
    assert smaller.size_px == (350, 250)
    assert smaller.level_pixel_um == pytest.approx(0.2)
    whole = smaller.read(Box(0, 0, 350, 250)).astype(int)
    assert np.abs(whole - halved(PIXELS)).mean() < 3
    image.close()
    smaller.close()


def test_a_level_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = written("svs", tmp_path)

    with pytest.raises(FrameError, match="has levels 0 to 1, --level 2 was asked for"):
        open_large(path, level=2)


def test_tiles_that_the_scanner_left_out_are_black(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"  # OpenSlide's generic kind
    tiles: list[Any] = [np.full((128, 128, 3), 200, np.uint8), None]
    options: dict[str, Any] = {
        "tile": (128, 128),
        "photometric": "rgb",
        "compression": "zlib",
    }
    tifffile.imwrite(path, iter(tiles), shape=(128, 256, 3), dtype=np.uint8, **options)
    for raster in (WholeSlide(path), TiffRaster(path)):
        assert raster.read(Box(0, 0, 128, 128)).min() == 200
        assert raster.read(Box(128, 0, 128, 128)).max() == 0
        raster.close()


@pytest.mark.parametrize("ending", ["svs", "ndpi", "mrxs", "dcm"])
def test_what_is_no_slide_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"no slide at all")

    with pytest.raises(FrameError, match="not a slide that OpenSlide knows"):
        open_large(path)


def test_damage_inside_a_slide_is_named(tmp_path: Path) -> None:
    path = written("svs", tmp_path)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 400] = bytes(400)
    path.write_bytes(data)
    image = open_large(path)

    with pytest.raises(FrameError, match="damaged near x 0, y 0 of level 0"):
        image.read(Box(0, 0, 50, 50))
    image.close()


def test_without_openslide_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("svs", tmp_path)
    monkeypatch.setitem(sys.modules, "openslide", None)

    with pytest.raises(FrameError, match=r"pip install 'cellrot\[slides\]'"):
        open_large(path)
