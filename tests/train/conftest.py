"""Real cells, decoded once for all tests, and a run small enough to repeat."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_train.config import Config
from cellrot_train.data import load_patch_set
from cellrot_train.pixels import Pixels, load_pixels

SAMPLES = Path(__file__).parent.parent / "data" / "patches"

MakeImage = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLROT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def pixels(cache: Path) -> Pixels:
    return load_pixels(load_patch_set(SAMPLES), 32, cache)


@pytest.fixture
def tiny() -> Config:
    return Config(
        model="hnet-r0",
        data=str(SAMPLES),
        side_px=32,
        width=4,
        embedding_size=8,
        batch_size=32,
        epochs=2,
        device="cpu",
    )


@pytest.fixture
def make_image() -> MakeImage:
    """Return what writes a colourful image, different for each seed."""

    def make(path: Path, side: int = 32, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return path

    return make
