"""A picture of few colours is the picture."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrot_infer.images import read_image
from cellrot_infer.types import RGB
from cellrot_infer.writers.palette import PALETTE
from cellrot_infer.writers.png import COLOURS, indexed, indexed_png
from tests.infer.images import FIELD, FRAMES

STEP = 255 / 31  # between colours that five bits tell apart
small = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def decoded(png: bytes) -> RGB:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return np.asarray(image, np.uint8)


@given(small)
def test_few_colours_come_out_as_near_as_five_bits_tell(image: RGB) -> None:
    back = decoded(indexed_png(image, PALETTE[:1]))

    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).max() <= STEP + 1


@given(small)
def test_exact_colours_stay_exact_beside_any_others(image: RGB) -> None:
    image[0, 0] = PALETTE[3]
    assert tuple(decoded(indexed_png(image, PALETTE))[0, 0]) == PALETTE[3]


@pytest.mark.parametrize("path", [FIELD, sorted((FRAMES / "bccd").glob("*.jpg"))[0]])
def test_a_smear_loses_nothing_that_can_be_seen(path: Path) -> None:
    image = read_image(path.read_bytes(), path.name)

    back = decoded(indexed_png(image, PALETTE))

    assert np.sqrt(((back.astype(int) - image) ** 2).mean()) < STEP / 2


def test_glass_takes_next_to_no_room() -> None:
    glass = np.full((500, 500, 3), 230, np.uint8)
    assert len(indexed_png(glass, PALETTE)) < 2000


def test_noise_of_all_colours_has_256_of_them_at_most() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)

    indices, palette = indexed(noise, PALETTE)

    assert len(palette) <= COLOURS
    assert indices.max() < len(palette)


def test_every_part_of_the_file_carries_its_checksum() -> None:
    png = indexed_png(np.zeros((2, 3, 3), np.uint8), PALETTE[:1])
    kinds, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        body, check = png[at + 4 : at + 8 + length], png[at + 8 + length :][:4]
        assert int.from_bytes(check, "big") == zlib.crc32(body)
        kinds.append(body[:4])
        at += 12 + length
    assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
