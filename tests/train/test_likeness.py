"""Copies of a real cell are found however they were made; other cells are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cellrot_infer.images import read_image
from cellrot_train.likeness import Thumbs, find_pairs, thumb

Image = NDArray[np.uint8]
SAMPLES = Path(__file__).parents[1] / "data" / "patches"


@pytest.fixture(scope="module")
def cells() -> list[Image]:
    paths = sorted(SAMPLES.glob("*/*.webp"))[::4]
    return [read_image(path.read_bytes(), path.name) for path in paths]


@pytest.fixture(scope="module")
def thumbs(cells: list[Image]) -> Thumbs:
    return np.stack([thumb(cell) for cell in cells])


def moved(cell: Image, degrees: float, shift_px: float = 0) -> Image:
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), degrees, 1)
    matrix[:, 2] = matrix[:, 2] + shift_px
    size, border = (256, 256), cv2.BORDER_REFLECT_101
    return np.asarray(
        cv2.warpAffine(cell, matrix, size, None, cv2.INTER_CUBIC, border), np.uint8
    )


def saved(cell: Image) -> Image:
    _, data = cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, 70])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def recoloured(cell: Image) -> Image:
    gains = np.array([1.1, 0.85, 0.95])
    return np.clip(cell * gains - 10, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[Image], Image]] = {
    "turned": lambda cell: moved(cell, 33),
    "quarter turn": lambda cell: np.ascontiguousarray(np.rot90(cell)),
    "mirrored and turned": lambda cell: moved(cell[:, ::-1].copy(), 200),
    "shifted": lambda cell: moved(cell, 0, 3),
    "turned and shifted": lambda cell: moved(cell, 77, 2),
    "saved as JPEG": saved,
    "recoloured and turned": lambda cell: moved(recoloured(cell), 120),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(cells: list[Image], thumbs: Thumbs, how: str) -> None:
    copies = np.stack([thumb(COPIES[how](cell)) for cell in cells])
    count = len(cells)

    found = {pair[:2] for pair in find_pairs(np.concatenate([thumbs, copies]))}

    paired = sum((index, index + count) in found for index in range(count))
    assert paired / count >= 0.9
    assert all(second - first == count for first, second in found)


def test_different_cells_are_no_copies(thumbs: Thumbs) -> None:
    assert list(find_pairs(thumbs)) == []


def test_empty_pictures_are_no_copies_of_each_other() -> None:
    noise = np.random.default_rng(0).normal(200, 1, (6, 64, 64))

    assert list(find_pairs(noise.astype(np.uint8))) == []
    assert list(find_pairs(np.full((3, 64, 64), 128, np.uint8))) == []
    assert list(find_pairs(np.empty((0, 64, 64), np.uint8))) == []


def test_an_image_is_most_like_itself(thumbs: Thumbs) -> None:
    pairs = list(find_pairs(np.concatenate([thumbs[:3], thumbs[:3]])))

    assert [pair[:2] for pair in pairs] == [(0, 3), (1, 4), (2, 5)]
    assert all(abs(pair.likeness - 1) < 1e-5 for pair in pairs)


def test_pairs_are_found_across_blocks(
    thumbs: Thumbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled = np.concatenate([thumbs[:9], thumbs[:9]])
    at_once = {pair[:2] for pair in find_pairs(doubled)}

    monkeypatch.setattr("cellrot_train.likeness._BLOCK", 4)

    assert {pair[:2] for pair in find_pairs(doubled)} == at_once
