"""The certificate tells an invariant model from one that only looks like it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer.certificate import certify, turn
from cellrot_infer.errors import ModelError
from cellrot_infer.types import Floats, Patches, Predictions

SAMPLES = Path(__file__).parents[1] / "data" / "patches"


@pytest.fixture(scope="module")
def patches() -> Patches:
    paths = sorted(SAMPLES.glob("*/*.webp"))[::24]
    images = [cv2.imdecode(np.fromfile(p, np.uint8), cv2.IMREAD_COLOR) for p in paths]
    return np.stack([image[..., ::-1] for image in images if image is not None])


def predictions(embeddings: Floats) -> Predictions:
    scores = np.exp(embeddings - embeddings.max(axis=1, keepdims=True))
    shares = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions(shares, embeddings, np.zeros(len(shares), np.float32))


def mean_colour_of_the_disc(patches: Patches) -> Predictions:
    along = np.arange(256) - 127.5
    disc = np.hypot(along[:, None], along) < 120
    return predictions(patches[:, disc].mean(axis=1, dtype=np.float64).astype("f4"))


def mean_colour_of_the_top(patches: Patches) -> Predictions:
    top = patches[:, :64].mean(axis=(1, 2), dtype=np.float64)
    return predictions((top - [230, 200, 180]).astype("f4"))


def test_an_invariant_model_is_certified(patches: Patches) -> None:
    certificate = certify(mean_colour_of_the_disc, patches)

    assert certificate["quarter_turn_max_abs"] < 1e-5
    assert certificate["quarter_turn_embedding"] < 1e-6
    assert max(certificate["spread"]) < 0.02
    assert max(certificate["flips"]) == 0


def test_a_model_that_looks_at_the_top_is_not(patches: Patches) -> None:
    certificate = certify(mean_colour_of_the_top, patches)

    assert certificate["quarter_turn_max_abs"] > 0.1
    assert min(certificate["spread"]) > 0.05
    assert max(certificate["flips"]) > 0


def test_a_model_that_has_one_answer_to_all_cells_is_none(patches: Patches) -> None:
    with pytest.raises(ModelError, match=r"one answer to all cells \(16\), expected"):
        certify(lambda some: predictions(np.ones((len(some), 3), "f4")), patches)


@pytest.mark.parametrize("degrees", [30, 90, 135])
def test_turning_there_and_back_gives_the_cell_again(
    patches: Patches, degrees: int
) -> None:
    back = turn(turn(patches, degrees), -degrees)

    inner = np.s_[:, 70:186, 70:186]
    change = np.abs(back[inner].astype(int) - patches[inner])
    assert change.mean() < (0.01 if degrees == 90 else 2)


def test_turns_are_counter_clockwise() -> None:
    patches = np.zeros((1, 256, 256, 3), np.uint8)
    patches[0, 118:138, 200:220] = 255  # a spot to the right of the centre

    for degrees in (90, 80):
        rows, _ = np.nonzero(turn(patches, degrees)[0, ..., 0] > 128)
        assert rows.mean() < 60  # has moved to the top
