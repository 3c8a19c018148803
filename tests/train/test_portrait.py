"""The pictures of a run show cells of every class, in the frame of the image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellrot_train.data import load_patch_set
from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.portrait import (
    reconstructions,
    shown_cells,
    write_confusion,
    write_pictures,
)

SAMPLES = Path(__file__).parents[1] / "data" / "patches"


class Identity(AutoEncoder):
    """Keeps everything: its reconstruction is the image."""

    embedding_size = feature_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def encode(self, images: Tensor) -> Encoding:
        assert not self.training
        flat = images.flatten(1)
        return Encoding(flat, flat)

    def decode(self, encoding: Encoding) -> Tensor:
        return self.scale * encoding.embedding.unflatten(1, (3, 32, -1))


@pytest.fixture(scope="module")
def pixels(cache: Path) -> Pixels:
    return load_pixels(load_patch_set(SAMPLES), 32, cache)


def test_every_class_is_shown_once(pixels: Pixels) -> None:
    rows = shown_cells(pixels.patch_set)

    records = [pixels.patch_set.records[row] for row in rows]
    assert {record.label for record in records} == set(pixels.patch_set.class_names)
    assert {record.split for record in records} == {"val"}
    assert len(rows) == 11


def test_what_keeps_everything_shows_the_cell_again(pixels: Pixels) -> None:
    encoder = Identity()
    encoder.train()

    cell, again, turned, turned_again = reconstructions(encoder, pixels.images[:5])

    for shown, made in ((cell, again), (turned, turned_again)):
        change = np.abs(shown.images.astype(int) - made.images)
        assert change.max() <= 2
    assert np.abs(cell.images.astype(int) - turned.images).mean() > 5
    assert encoder.training  # as it was before


def test_the_pictures_appear_in_the_folder(pixels: Pixels, tmp_path: Path) -> None:
    write_pictures(tmp_path, Identity(), pixels.images[:2], [{"epoch": 1, "loss": 1.0}])
    write_confusion(tmp_path, np.eye(2, dtype=np.int64), ("a", "b"))

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"curves.png", "reconstructions.png", "confusion.png"}


def test_without_cells_there_is_no_picture_of_them(tmp_path: Path) -> None:
    write_pictures(tmp_path, Identity(), torch.empty(0, 3, 32, 32), [])

    assert list(tmp_path.iterdir()) == []
