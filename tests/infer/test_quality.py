"""Good fields pass; spoilt ones are named, each for its fault."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer.field import Field
from cellrot_infer.frames import read_frame
from cellrot_infer.quality import FieldQuality, field_quality
from cellrot_infer.segment import segment
from cellrot_infer.stain import find_glass
from cellrot_infer.types import RGB, Cell, Floats, Frame, PixelSize
from tests.infer.images import FRAMES

GOOD = [
    (path, size_um)
    for folder, size_um in (("bccd", 0.07), ("pbc_fields", 0.1))
    for path in sorted((FRAMES / folder).glob("*.jpg"))
]
Spoil = Callable[[Floats, Floats], Floats]


def blurred(pixels: Floats, _: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 10), np.float32)


def over_exposed(pixels: Floats, _: Floats) -> Floats:
    return pixels * 1.7


def dark(pixels: Floats, _: Floats) -> Floats:
    return pixels * 0.25


def unstained(pixels: Floats, glass: Floats) -> Floats:
    return np.asarray(glass * (np.maximum(pixels, 1) / glass) ** 0.1, np.float32)


def empty(pixels: Floats, glass: Floats) -> Floats:
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return np.asarray(glass + noise, np.float32)


def fading(pixels: Floats, _: Floats) -> Floats:
    return pixels * np.linspace(1, 0.45, pixels.shape[1])[:, None].astype(np.float32)


SPOILT: list[tuple[Spoil, str]] = [
    (blurred, "out of focus"),
    (over_exposed, "over-exposed"),
    (dark, "too dark"),
    (unstained, "empty|stained too weakly"),
    (empty, "empty"),
    (fading, "lit unevenly"),
]


def spoilt(path: Path, size_um: float, spoil: Spoil) -> Frame:
    pixels = read_frame(path, pixel_size_um=size_um).pixels
    glass = find_glass(pixels).light
    changed: RGB = np.clip(spoil(pixels.astype(np.float32), glass), 0, 255).astype(
        np.uint8
    )
    return Frame(path.name, changed, PixelSize(size_um, "option"))


def quality_of(frame: Frame, cells: Sequence[Cell] = ()) -> FieldQuality:
    return field_quality(Field.of(frame), list(cells))


@pytest.mark.parametrize(("path", "size_um"), GOOD, ids=lambda value: str(value)[-9:])
def test_a_good_field_has_no_warning(path: Path, size_um: float) -> None:
    frame = read_frame(path, pixel_size_um=size_um)

    assert quality_of(frame, segment(frame)).warnings == ()


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=lambda value: str(value)[:20])
def test_a_spoilt_field_is_named_for_its_fault(spoil: Spoil, reason: str) -> None:
    for path, size_um in GOOD[::4]:
        warnings = quality_of(spoilt(path, size_um, spoil)).warnings

        assert any(
            part in warning for warning in warnings for part in reason.split("|")
        ), path.name


def dim(pixels: Floats, _: Floats) -> Floats:
    return pixels * 0.55


def fading_a_little(pixels: Floats, _: Floats) -> Floats:
    return pixels * np.linspace(1, 0.8, pixels.shape[1])[:, None].astype(np.float32)


def partly_white(pixels: Floats, _: Floats) -> Floats:
    white = pixels.copy()
    white[:, : white.shape[1] * 2 // 5] = 255
    return white


def pink(pixels: Floats, _: Floats) -> Floats:
    return np.asarray(pixels * np.array((1.7, 1, 1)), np.float32)


@pytest.mark.parametrize("change", [dim, fading_a_little, partly_white, pink])
def test_light_that_is_only_a_little_bad_has_no_warning(change: Spoil) -> None:
    path, size_um = GOOD[0]

    assert quality_of(spoilt(path, size_um, change)).warnings == ()


def test_the_light_of_a_field_is_measured() -> None:
    fading = 10 ** -np.linspace(0, 0.15, 300)[:, None] * (220, 160, 230)
    pixels = np.repeat(np.rint(fading)[None], 200, axis=0).astype(np.uint8)

    quality = quality_of(Frame("light", pixels, PixelSize(0.2, "option")))

    assert quality.fading == pytest.approx(0.15, abs=0.03)
    assert 160 * 10**-0.15 < 255 * quality.illumination <= 160  # that of green


def test_a_field_without_glass_is_crowded() -> None:
    checks = np.random.default_rng(0).integers(40, 160, (60, 80, 3)).astype(np.uint8)
    pixels = np.asarray(cv2.resize(checks, (800, 600)), np.uint8)

    quality = quality_of(Frame("thick", pixels, PixelSize(0.1, "option")))

    assert any("crowded" in warning for warning in quality.warnings)


def test_density_is_the_share_under_cells() -> None:
    frame = read_frame(GOOD[0][0], pixel_size_um=0.07)
    cells = segment(frame)
    field_um2 = frame.pixels[..., 0].size * 0.07**2

    share = sum(cell.area_um2 for cell in cells) / field_um2

    assert share > 0
    assert quality_of(frame, cells).density == pytest.approx(share, rel=0.01)
