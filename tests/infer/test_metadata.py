"""Headers are believed where they are credible, and damage is told, never a crash."""

import contextlib
import io
import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellrot_infer import images
from cellrot_infer.errors import FrameError
from cellrot_infer.frames import agreed_size, judge_scales, read_frame
from cellrot_infer.metadata import read_metadata
from cellrot_infer.types import PixelSize
from tests.infer.images import EVERY_KIND, FRAMES, field, saved, tiff

PER_CM = 1e4 / 0.1  # pixels in a centimetre at 0.1 um


def exif(dots_per_cm: float) -> Image.Exif:
    tags = Image.Exif()
    tags[282], tags[283], tags[296] = dots_per_cm, dots_per_cm, 3
    return tags


def ome(size: str, unit: str | None = None) -> bytes:
    units = f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}" ' if unit else ""
    text = f'<OME><Pixels {units}PhysicalSizeX="{size}" PhysicalSizeY="{size}"/></OME>'
    return tiff(field(), photometric="rgb", description=text.encode(), metadata=None)


def bmp(pixels_per_metre: int) -> bytes:
    data = bytearray(EVERY_KIND["BMP"])
    struct.pack_into("<ii", data, 38, pixels_per_metre, pixels_per_metre)
    return bytes(data)


def png_of_proportions(pixels_per_unit: int) -> bytes:
    """Return a PNG that says how wide to high its pixels are, without a unit."""
    chunk = b"pHYs" + struct.pack(">IIB", pixels_per_unit, pixels_per_unit, 0)
    framed = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return EVERY_KIND["PNG"][:33] + framed + EVERY_KIND["PNG"][33:]


def jfif_per_cm(pixels_per_cm: int) -> bytes:
    data = bytearray(EVERY_KIND["JPEG"])
    at = data.index(b"JFIF\x00") + 7
    struct.pack_into(">BHH", data, at, 2, pixels_per_cm, pixels_per_cm)
    return bytes(data)


SCALED = {
    "PNG pHYs": saved(Image.fromarray(field()), "PNG", dpi=(254_000, 254_000)),
    "JFIF": saved(Image.fromarray(field()), "JPEG", dpi=(25_400, 25_400)),
    "JFIF per cm": jfif_per_cm(10_000),
    "JPEG EXIF": saved(Image.fromarray(field()), "JPEG", exif=exif(PER_CM)),
    "WebP EXIF": saved(Image.fromarray(field()), "WEBP", exif=exif(PER_CM)),
    "TIFF per cm": tiff(
        field(), photometric="rgb", resolution=(PER_CM, PER_CM), resolutionunit=3
    ),
    "ImageJ": tiff(
        field(), imagej=True, resolution=(10, 10), metadata={"unit": "um"}
    ),
    "ImageJ micron": tiff(
        field(), imagej=True, resolution=(10, 10), metadata={"unit": "micron"}
    ),
    "OME": ome("0.1"),
    "OME nm": ome("100", "nm"),
    "OME BigTIFF": tiff(
        field(), ome=True, bigtiff=True, photometric="rgb",
        metadata={"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1},
    ),
    "BMP": bmp(10_000_000),
}  # fmt: skip


@pytest.mark.parametrize("form", SCALED)
def test_a_credible_pixel_size_is_found(form: str) -> None:
    # two bytes of JFIF cannot hold less than 0.4 um
    expected = 1.0 if form.startswith("JFIF") else 0.1

    assert read_metadata(SCALED[form]).pixel_size_um == pytest.approx(
        expected, rel=0.01
    )


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(field()), "PNG", dpi=(72, 72)),
        saved(Image.fromarray(field()), "PNG", dpi=(254_000, 127_000)),
        saved(Image.fromarray(field()), "PNG", dpi=(10_000, 10_000)),  # 2.54 um
        saved(Image.fromarray(field()), "PNG", dpi=(1_500_000, 1_500_000)),  # 0.017 um
        png_of_proportions(10_000_000),
        saved(Image.fromarray(field()), "JPEG", dpi=(300, 300)),
        tiff(field(), photometric="rgb", resolution=(10, 10), resolutionunit=1),
        tiff(field(), photometric="rgb", resolution=(0, 0), resolutionunit=2),
        tiff(
            field(),
            photometric="rgb",
            resolution=(PER_CM, PER_CM / 2),
            resolutionunit=3,
        ),
        tiff(field(), imagej=True, resolution=(10, 10), metadata={"unit": "pixel"}),
        ome("nan"),
        ome("1e999"),
        ome("0.1", "parsec"),
        ome("-0.1"),
        bmp(-10_000_000),
        *EVERY_KIND.values(),
    ],
)
def test_what_a_screen_or_printer_wrote_is_no_pixel_size(data: bytes) -> None:
    assert read_metadata(data).pixel_size_um is None


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_header_tells_the_size(kind: str) -> None:
    metadata = read_metadata(EVERY_KIND[kind])

    assert (metadata.width_px, metadata.height_px) == (90, 60)


def test_every_sample_has_the_size_that_it_decodes_to() -> None:
    for path in FRAMES.glob("*/*.jpg"):
        metadata = read_metadata(path.read_bytes())
        height, width = read_frame(path, pixel_size_um=0.1).pixels.shape[:2]
        assert (metadata.width_px, metadata.height_px) == (width, height)


def test_further_pages_are_told_and_previews_are_not() -> None:
    two = tiff(np.stack([field(), field()]), photometric="rgb")
    assert read_metadata(two).has_more_pages

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(field(), photometric="rgb")
        writer.write(field()[::2, ::2], photometric="rgb", subfiletype=1)
    assert not read_metadata(buffer.getvalue()).has_more_pages
    assert not read_metadata(EVERY_KIND["TIFF"]).has_more_pages


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_the_file_s_own_pixel_size_wins_over_a_guess(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path / "a.png", SCALED["PNG pHYs"]))

    assert frame.pixel_size.source == "metadata"
    assert frame.pixel_size_um == pytest.approx(0.1)
    assert frame.warnings == ()


def test_the_option_wins_over_the_file_and_a_contradiction_is_told(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.png", SCALED["PNG pHYs"])

    agreed, told, less = (
        read_frame(path, pixel_size_um=um) for um in (0.108, 0.112, 0.09)
    )

    assert agreed.warnings == ()
    assert told.pixel_size.um == 0.112
    assert told.warnings == ("the file says 0.1 um a pixel, 0.112 um was told",)
    assert less.warnings == ("the file says 0.1 um a pixel, 0.09 um was told",)


def test_a_pixel_too_coarse_to_tell_cells_by_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", SCALED["JFIF"])

    with pytest.raises(FrameError, match=r"a\.jpg: 1 um a pixel \(by metadata\), exp"):
        read_frame(path)

    assert read_frame(path, pixel_size_um=0.1).pixel_size_um == 0.1


def test_red_cells_tell_the_pixel_size_where_nothing_else_does() -> None:
    frame = read_frame(FRAMES / "bccd" / "BloodImage_00007.jpg")

    assert frame.pixel_size.source == "red cells"
    assert 0.05 < frame.pixel_size_um < 0.1


def test_without_red_cells_the_model_s_pixel_size_stands_in_with_a_warning(
    tmp_path: Path,
) -> None:
    empty = cv2.imencode(".png", np.full((64, 64, 3), 230, np.uint8))[1].tobytes()

    frame = read_frame(write(tmp_path / "a.png", empty), fallback_um=0.12)

    assert (frame.pixel_size.source, frame.pixel_size_um) == ("model", 0.12)
    assert "pixel size unknown, taken for the model's 0.12 um" in frame.warnings[0]


def test_a_frame_without_colour_has_a_warning(tmp_path: Path) -> None:
    grey = cv2.imencode(".png", np.full((64, 64), 200, np.uint8))[1].tobytes()

    frame = read_frame(write(tmp_path / "a.png", grey), pixel_size_um=0.1)

    assert frame.warnings == ("the image has no colour, and stains are told by colour",)


def test_a_frame_of_one_hue_has_colour(tmp_path: Path) -> None:
    yellow = np.full((64, 64, 3), (150, 200, 200), np.uint8)
    data = cv2.imencode(".png", yellow)[1].tobytes()

    assert read_frame(write(tmp_path / "a.png", data), pixel_size_um=0.1).warnings == ()


def test_a_frame_whose_file_holds_further_images_has_a_warning(tmp_path: Path) -> None:
    two = tiff(np.stack([field(), field()]), photometric="rgb")

    frame = read_frame(write(tmp_path / "a.tif", two), pixel_size_um=0.1)

    assert frame.warnings == ("only the first of the file's images was read",)


@settings(max_examples=300)
@given(data=st.data(), kind=st.sampled_from(sorted({*EVERY_KIND, *SCALED})))
def test_a_damaged_header_is_read_or_refused(data: st.DataObject, kind: str) -> None:
    content = bytearray((EVERY_KIND | SCALED)[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[at] = data.draw(st.integers(0, 255))

    with contextlib.suppress(FrameError):
        assert 1 <= read_metadata(bytes(content)).orientation <= 8


@given(st.binary(max_size=200), st.sampled_from([b"", *(
    data[:12] for data in EVERY_KIND.values())]))  # fmt: skip
def test_arbitrary_bytes_after_a_header_make_no_crash(
    noise: bytes, start: bytes
) -> None:
    with contextlib.suppress(FrameError):
        assert read_metadata(start + noise).kind in {"JPEG", "TIFF", "BMP", "WebP"}


def test_the_frames_of_a_slide_agree_on_their_scale() -> None:
    paths = sorted((FRAMES / "bccd").glob("*.jpg"))
    alone = [read_frame(path).pixel_size_um for path in paths]

    scales = judge_scales(paths)

    (scale,) = scales.values()
    assert scale.um == pytest.approx(float(np.median(alone)))
    assert 0 < scale.spread < 0.1
    together = {read_frame(path, scales=scales).pixel_size for path in paths}
    assert together == {scale}


@pytest.mark.parametrize("unit_um", [0.05, 0.2])
def test_the_scale_of_a_slide_is_a_median_with_its_error(unit_um: float) -> None:
    sizes = [PixelSize(unit_um * part, "red cells") for part in (0.9, 1.0, 1.0, 1.1)]
    deviation = 0.1 * math.sqrt(2 / 3)

    agreed = agreed_size(sizes)

    assert agreed is not None
    assert agreed.um == pytest.approx(unit_um)
    assert agreed.spread == pytest.approx(1.25 * deviation / math.sqrt(4))


@pytest.mark.parametrize(("off", "agree"), [(0.1, True), (0.15, False)])
def test_frames_agree_while_half_of_them_are_within_a_quarter(
    off: float, agree: bool
) -> None:
    sizes = [
        PixelSize(um, "red cells") for um in (1 - off, 1 - off, 1, 1 + off, 1 + off)
    ]

    assert (agreed_size(sizes) is not None) == agree


def test_frames_of_two_objectives_do_not_agree(tmp_path: Path) -> None:
    paths = sorted((FRAMES / "bccd").glob("*.jpg"))[:4]
    for path in paths[:2]:  # the same size in pixels, half the scale
        pixels = read_frame(path, pixel_size_um=0.1).pixels[::2, ::2, ::-1]
        tiled = cv2.imencode(".png", np.tile(pixels, (2, 2, 1)))[1]
        paths.append(write(tmp_path / f"{path.stem}.png", tiled.tobytes()))

    assert judge_scales(paths) == {}


def test_images_of_another_size_have_a_scale_of_their_own(tmp_path: Path) -> None:
    path = FRAMES / "bccd" / "BloodImage_00007.jpg"
    pixels = read_frame(path, pixel_size_um=0.1).pixels
    half = cv2.imencode(".png", cv2.resize(pixels, None, fx=0.5, fy=0.5)[..., ::-1])[1]
    small = write(tmp_path / "half.png", half.tobytes())

    scales = judge_scales([path, small])

    assert len(scales) == 2
    ratio = scales[240, 320].um / scales[480, 640].um
    assert ratio == pytest.approx(2, rel=0.15)


def test_images_that_are_read_in_parts_have_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = read_frame(FRAMES / "bccd" / "BloodImage_00007.jpg").pixels
    path = write(tmp_path / "a.tif", tiff(pixels, photometric="rgb"))
    assert judge_scales([path])

    monkeypatch.setattr(images, "IN_PARTS_PX", 50_000)

    assert judge_scales([path]) == {}


def test_files_that_know_their_scale_or_are_damaged_have_no_say(tmp_path: Path) -> None:
    knowing = write(tmp_path / "a.png", SCALED["PNG pHYs"])
    damaged = write(tmp_path / "b.png", b"")

    assert judge_scales([knowing, damaged, tmp_path / "gone.png"]) == {}
    assert judge_scales([]) == {}
