"""Any part of a TIFF file is what the whole file shows there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer import tiffraster
from cellrot_infer.errors import FrameError
from cellrot_infer.raster import glance
from cellrot_infer.tiffraster import TiffRaster
from cellrot_infer.types import RGB, Box
from tests.infer.images import field

PIXELS = field(150, 110)
GREY = PIXELS[..., 1]
PART = Box(37, 21, 80, 64)


def part_of(pixels: RGB, box: Box = PART) -> RGB:
    return pixels[
        box.y_px : box.y_px + box.height_px, box.x_px : box.x_px + box.width_px
    ]


def write(path: Path, pixels: np.ndarray = PIXELS, **options: Any) -> Path:  # noqa: ANN401
    tifffile.imwrite(path, pixels, **({"photometric": "rgb"} | options))
    return path


LOSSLESS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 7, "compression": "zlib"},
    "tiles": {"tile": (32, 48)},
    "packed tiles": {"tile": (32, 32), "compression": "zlib", "predictor": True},
    "LZW": {"tile": (32, 32), "compression": "lzw"},
    "Zstandard": {"tile": (32, 32), "compression": "zstd"},
    "BigTIFF": {"tile": (32, 32), "bigtiff": True},
    "big-endian": {"byteorder": ">", "rowsperstrip": 9},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_part_is_what_the_whole_shows_there(tmp_path: Path, kind: str) -> None:
    raster = TiffRaster(write(tmp_path / "a.tif", **LOSSLESS[kind]))

    assert raster.sizes_px == [(150, 110)]
    assert (raster.read(PART) == part_of(PIXELS)).all()
    raster.close()


@given(x=st.integers(0, 149), y=st.integers(0, 109), data=st.data())
def test_any_part_is_what_the_whole_shows_there(
    tmp_path_factory: pytest.TempPathFactory, x: int, y: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tif"
    if not path.exists():
        write(path, tile=(32, 48), compression="zlib")
    width, height = (
        data.draw(st.integers(1, 150 - x)),
        data.draw(st.integers(1, 110 - y)),
    )
    raster = TiffRaster(path)

    assert (
        raster.read(Box(x, y, width, height))
        == part_of(PIXELS, Box(x, y, width, height))
    ).all()
    raster.close()


SAMPLES: dict[str, tuple[np.ndarray, dict[str, Any], RGB]] = {
    "planes": (np.moveaxis(PIXELS, 2, 0), {"planarconfig": "separate"}, PIXELS),
    "packed planes": (
        np.moveaxis(PIXELS, 2, 0),
        {"planarconfig": "separate", "compression": "zlib", "tile": (32, 32)},
        PIXELS,
    ),
    "grey": (GREY, {"photometric": "minisblack"}, np.dstack([GREY] * 3)),
    "grey, white is 0": (
        255 - GREY,
        {"photometric": "miniswhite", "tile": (32, 32)},
        np.dstack([GREY] * 3),
    ),
    "12 bits": (PIXELS.astype(np.uint16) * 16, {"tile": (32, 32)}, PIXELS),
    "channels of OME": (
        np.moveaxis(PIXELS, 2, 0),
        {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True},
        PIXELS,
    ),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_any_kind_become_rgb(tmp_path: Path, kind: str) -> None:
    stored, options, expected = SAMPLES[kind]
    raster = TiffRaster(write(tmp_path / "a.ome.tif", stored, **options))

    shown = raster.read(PART).astype(int)

    tolerance = (
        1 if stored.dtype == np.uint16 else 0
    )  # 12 bits end at 4095, not at 4080
    assert np.abs(shown - part_of(expected)).max() <= tolerance
    raster.close()


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    alpha = np.full((110, 150), 255, np.uint8)
    alpha[:, :60] = 0
    path = write(
        tmp_path / "a.tif", np.dstack([PIXELS, alpha]), extrasamples=["unassalpha"]
    )
    raster = TiffRaster(path)

    expected = PIXELS * (alpha[..., None] > 0)
    assert (raster.read(PART) == part_of(expected)).all()
    raster.close()


def test_jpeg_tiles_are_decoded(tmp_path: Path) -> None:
    raster = TiffRaster(write(tmp_path / "a.tif", tile=(32, 32), compression="jpeg"))

    assert np.abs(raster.read(PART).astype(int) - part_of(PIXELS)).mean() < 5
    raster.close()


def pyramid(path: Path, *, subifds: bool) -> Path:
    """Write an image and a copy half as large, nested or one after the other."""
    options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32)}
    small = PIXELS[::2, ::2]
    with tifffile.TiffWriter(path) as writer:
        writer.write(PIXELS, **options, subifds=1 if subifds else None)
        writer.write(small, **options, subfiletype=1)
    return path


@pytest.mark.parametrize("subifds", [False, True])
def test_the_levels_of_a_pyramid_are_read(tmp_path: Path, subifds: bool) -> None:
    raster = TiffRaster(pyramid(tmp_path / "a.tif", subifds=subifds))
    box = Box(11, 7, 30, 20)

    assert raster.sizes_px == [(150, 110), (75, 55)]
    assert (raster.read(box, 1) == part_of(PIXELS[::2, ::2], box)).all()
    assert (glance(raster, Box(22, 14, 60, 40), 0, 2) == raster.read(box, 1)).all()
    raster.close()


def test_threads_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiffraster, "KEPT_BYTES", 4000)  # so that tiles are thrown out
    raster = TiffRaster(write(tmp_path / "a.tif", tile=(32, 32), compression="zlib"))
    boxes = [Box(x, y, 40, 30) for x in range(0, 110, 7) for y in range(0, 80, 7)]

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(raster.read, boxes))

    for box, part in zip(boxes, parts, strict=True):
        assert (part == part_of(PIXELS, box)).all()
    raster.close()


def test_what_was_decoded_is_kept_only_as_room_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiffraster, "KEPT_BYTES", 2 * 32 * 32 * 3)
    raster = TiffRaster(write(tmp_path / "a.tif", tile=(32, 32), compression="zlib"))
    raster.read(Box(0, 0, 150, 110))

    held = raster._kept._held
    assert len(held) == 2
    raster.close()


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    raster = TiffRaster(path)

    with pytest.raises(FrameError, match="damaged near x 0, y 0 of level 0"):
        raster.read(Box(0, 0, 10, 10))
    assert (
        raster.read(Box(64, 64, 30, 30)) == part_of(PIXELS, Box(64, 64, 30, 30))
    ).all()
    raster.close()


REFUSED: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "numbers with fractions": (
        GREY.astype(np.float32),
        {"photometric": "minisblack"},
        "its samples are float32",
    ),
    "a stack": (
        np.stack([GREY] * 7),
        {"photometric": "minisblack"},
        "axes QYX of 7x110x150",
    ),
    "turned": (PIXELS, {"extratags": [(274, 3, 1, 6, False)]}, "stored turned"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused(tmp_path: Path, kind: str) -> None:
    pixels, options, reason = REFUSED[kind]
    path = write(tmp_path / "a.tif", pixels, **options)

    with pytest.raises(FrameError, match=reason):
        TiffRaster(path)


def test_one_huge_strip_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiffraster, "LARGEST_SEGMENT_PX", 10_000)
    path = write(tmp_path / "a.tif", rowsperstrip=110, compression="zlib")

    with pytest.raises(FrameError, match=r"pieces of 150 x 110 pixels.*save it tiled"):
        TiffRaster(path)
