"""Image files become frames as the camera saw them, or are refused with the reason."""

import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cellrot_infer.errors import FrameError
from cellrot_infer.frames import read_frame, read_image
from cellrot_infer.types import RGB
from tests.infer.images import EVERY_KIND, FRAMES, field, png16, saved, tiff

LOSSY = {"JPEG": 4.0, "progressive JPEG": 6.0, "lossy WebP": 6.0}  # mean grey levels
# EXIF's orientations as what was done to the upright image when it was stored.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def difference(image: RGB, other: RGB) -> float:
    assert image.shape == other.shape
    return float(np.abs(image.astype(float) - other).mean())


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_file_gives_the_same_picture(kind: str) -> None:
    assert difference(read_image(EVERY_KIND[kind], kind), field()) <= LOSSY.get(kind, 0)


def test_sixteen_bits_are_the_same_picture() -> None:
    deep = field().astype(np.uint16) * 257

    assert difference(read_image(png16(field()), "png"), field()) == 0
    assert difference(read_image(tiff(deep, photometric="rgb"), "tif"), field()) == 0


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_depth_of_a_camera_shows_in_its_brightest_pixel(bits: int) -> None:
    glass = field().copy()
    glass[0, 0] = 250
    deep = np.round(glass / 255 * (2**bits - 1)).astype(np.uint16)

    assert difference(read_image(tiff(deep, photometric="rgb"), "tif"), glass) < 0.5


def test_grey_becomes_rgb() -> None:
    grey = field()[..., 1]

    read = read_image(saved(Image.fromarray(grey), "PNG"), "grey")

    assert difference(read, np.dstack([grey] * 3)) == 0


def test_a_palette_is_looked_up() -> None:
    few = Image.fromarray(field()).quantize(200)

    read = read_image(saved(few, "PNG"), "palette")

    assert difference(read, np.asarray(few.convert("RGB"))) == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_what_is_transparent_shows_glass(kind: str) -> None:
    rgba = np.dstack([field(), np.full((60, 90), 255, np.uint8)])
    rgba[:30, :, 3] = 0
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}

    read = read_image(saved(Image.fromarray(rgba), kind, **options), "rgba")

    assert (read[:30] == 255).all()
    assert difference(read[30:], field()[30:]) == 0


def test_a_transparent_entry_of_a_palette_shows_glass() -> None:
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10), "P")
    image.putpalette([value for entry in range(256) for value in (entry, 0, 0)])

    read = read_image(saved(image, "PNG", transparency=7), "palette")

    assert read[0, 7].tolist() == [255, 255, 255]
    assert read[0, 8].tolist() == [8, 0, 0]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright(kind: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](field())))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"exif": exif, **({"lossless": True} if kind == "WEBP" else {})}

    assert difference(read_image(saved(stored, kind, **options), kind), field()) == 0


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpeg_is_turned_upright(orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](field())))
    exif = Image.Exif()
    exif[274] = orientation

    read = read_image(saved(stored, "JPEG", quality=95, exif=exif), "jpeg")

    assert difference(read, field()) < 4


@pytest.mark.parametrize("name", ["Größe/Präparat ä.png", "two  spaces/数.png"])
def test_letters_and_spaces_in_a_path_work(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, EVERY_KIND["PNG"])

    frame = read_frame(path, pixel_size_um=0.1)

    assert frame.name == Path(name).name
    assert difference(frame.pixels, field()) == 0


@pytest.mark.parametrize("kind", EVERY_KIND)
@given(share=st.floats(0.02, 0.98))
def test_a_file_that_was_cut_off_is_refused(kind: str, share: float) -> None:
    whole = EVERY_KIND[kind]

    with pytest.raises(FrameError, match=r"cut off|damaged"):
        read_image(whole[: round(share * len(whole))], "half.png")


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_last_bytes_of_a_file_count(kind: str) -> None:
    whole = EVERY_KIND[kind]

    with pytest.raises(FrameError, match="cut off"):
        read_image(whole[:-2], "nearly.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_bytes_after_the_image_do_no_harm(kind: str) -> None:
    read = read_image(EVERY_KIND[kind] + b"from a careless program", kind)

    assert difference(read, field()) <= LOSSY.get(kind, 0)


def test_a_flipped_byte_in_a_png_is_refused() -> None:
    data = bytearray(EVERY_KIND["PNG"])
    data[len(data) // 2] ^= 1

    with pytest.raises(FrameError, match="damaged: a checksum"):
        read_image(bytes(data), "flipped.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"frame,cell\n1,2\n", "no PNG, JPEG, TIFF, WebP or BMP image"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"\xff\xd8\xff", "cut off"),
        (b"BM", "cut off"),
        (tiff(np.zeros((4, 4), np.float32)), "float32; save it with 8 or 16 bits"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = write(tmp_path / "a.png", content)

    with pytest.raises(FrameError, match=reason) as refusal:
        read_frame(path)

    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "really a png.jpg", EVERY_KIND["PNG"])

    frame = read_frame(path, pixel_size_um=0.1)

    assert difference(frame.pixels, field()) == 0


def png_claiming(side_px: int, *, honest_copy: bool = False) -> bytes:
    """Return a small PNG that claims to be large, with a second header if asked."""
    data = bytearray(EVERY_KIND["PNG"])
    honest = bytes(data[8:33])
    struct.pack_into(">II", data, 16, side_px, side_px)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data[:33] + (honest if honest_copy else b"") + data[33:])


def jpeg_claiming(side_px: int) -> bytes:
    data = bytearray(EVERY_KIND["JPEG"])
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side_px, side_px)
    return bytes(data)


def bmp_claiming(side_px: int) -> bytes:
    data = bytearray(EVERY_KIND["BMP"])
    struct.pack_into("<ii", data, 18, side_px, side_px)
    struct.pack_into("<I", data, 30, 1)  # packed, so that no size can be expected
    return bytes(data)


def tiff_claiming(side_px: int) -> bytes:
    data, entry = EVERY_KIND["TIFF"], struct.Struct("<HHII")
    for tag, side in ((256, 90), (257, 60)):
        claimed = entry.pack(tag, 4, 1, side_px)
        data = data.replace(entry.pack(tag, 4, 1, side), claimed)
    return data


def webp_claiming(side_px: int) -> bytes:
    data = EVERY_KIND["lossless WebP"]
    side = (side_px - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<II", 10, 0) + side + side
    return b"RIFF" + struct.pack("<I", len(data) + 10) + b"WEBP" + extended + data[12:]


@pytest.mark.parametrize(
    "bomb",
    [
        webp_claiming(100_000),
        png_claiming(100_000),
        png_claiming(100_000, honest_copy=True),
        jpeg_claiming(60_000),
        bmp_claiming(60_000),
        tiff_claiming(60_000),
    ],
)
def test_a_bomb_is_refused_before_memory_is_taken(bomb: bytes) -> None:
    with pytest.raises(FrameError, match="pixels are more than the 200 million"):
        read_image(bomb, "bomb")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(FrameError, match=r"folder\.png: a folder, expected an image"):
        read_frame(tmp_path / "folder.png")
    with pytest.raises(FrameError, match=r"gone\.png: no such file"):
        read_frame(tmp_path / "gone.png")


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_links_to_nothing_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(FrameError, match=r"link\.png: a broken link"):
        read_frame(tmp_path / "link.png")
    with pytest.raises(FrameError, match=r"pipe\.png: no ordinary file"):
        read_frame(tmp_path / "pipe.png")


# libjpeg carries on and says so itself; OpenCV leaves no way to hear it
@pytest.mark.parametrize("kind", ["lossy WebP", "packed TIFF"])
def test_damage_inside_a_file_makes_no_noise(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(EVERY_KIND[kind])
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)

    try:
        read_image(bytes(data), "damaged")
    except FrameError as refusal:
        assert "damaged" in str(refusal)  # noqa: PT017 - a decoder may also carry on

    assert capfd.readouterr() == ("", "")


def test_a_real_frame_is_read_with_its_hash() -> None:
    path = FRAMES / "bccd" / "BloodImage_00005.jpg"

    frame = read_frame(path, pixel_size_um=0.07)

    assert frame.pixels.shape == (480, 640, 3)
    assert frame.pixel_size.source == "option"
    assert len(frame.sha256) == 64
    assert frame.warnings == ()
