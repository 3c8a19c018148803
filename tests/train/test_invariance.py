"""What an encoder promises of turned cells, on real ones, and who does not keep it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import layers
from cellrot_train.config import MODELS
from cellrot_train.data import load_patch_set
from cellrot_train.encoders import build_encoder
from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.intake import Intake
from cellrot_train.layers.folding import folded
from cellrot_train.pixels import load_patches

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
HARMONIC = [name for name in MODELS if name.startswith("hnet")]


@pytest.fixture(scope="module")
def images() -> Tensor:
    patch_set = load_patch_set(SAMPLES)
    patches = load_patches(patch_set.subset(range(0, 374, 32)), "all", 64)
    return Intake(64)(patches).double()


def encoder(name: str) -> AutoEncoder:
    torch.manual_seed(1)
    return build_encoder(name, side_px=64).double().eval()


def change(before: Tensor, after: Tensor) -> float:
    """Return |after - before| / |before|."""
    return ((after - before).norm() / before.norm()).item()


@torch.inference_mode()
def turned(net: AutoEncoder, images: Tensor, turns: int) -> tuple[Encoding, Encoding]:
    """Return what the encoder says of images, and of the same after quarter turns."""
    return net.encode(images), net.encode(images.rot90(turns, (2, 3)))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("name", HARMONIC)
def test_a_quarter_turn_changes_no_invariant(
    name: str, turns: int, images: Tensor
) -> None:
    before, after = turned(encoder(name), images, turns)

    assert change(before.embedding, after.embedding) < 1e-6
    assert change(before.features, after.features) < 1e-6


@pytest.mark.parametrize(("name", "most"), [("hnet-r0", 0.008), ("hnet-r2", 0.02)])
def test_no_turn_moves_the_embedding_far_before_training(
    name: str, most: float
) -> None:
    found = layers.invariance(partial(layers.encoder, name), seeds=2)

    assert found["spread_mean"] < most


def test_a_turn_moves_that_of_an_ordinary_network() -> None:
    found = layers.invariance(partial(layers.encoder, "baseline"), seeds=1)

    assert found["spread_mean"] > 0.1


def test_the_check_rejects_an_ordinary_network(images: Tensor) -> None:
    before, after = turned(encoder("baseline"), images, 1)

    assert change(before.embedding, after.embedding) > 1e-2


def test_the_orientation_turns_with_the_cell(images: Tensor) -> None:
    before, after = turned(encoder("hnet-r2"), images, 1)
    assert before.orientation is not None
    assert after.orientation is not None

    x, y = before.orientation.unbind(dim=1)
    expected = torch.stack([-y, x], dim=1)  # counter-clockwise by 90 degrees
    assert change(expected, after.orientation) < 1e-6


def test_the_reconstruction_turns_with_the_cell(images: Tensor) -> None:
    net = encoder("hnet-r2")

    with torch.inference_mode():
        painted, again = net(images), net(images.rot90(1, (2, 3)))

    assert change(painted.rot90(1, (2, 3)), again) < 1e-6
    assert change(painted, again) > 1e-2  # it is no picture of rings


@pytest.mark.parametrize("name", MODELS)
def test_a_cell_does_not_depend_on_its_batch(name: str, images: Tensor) -> None:
    net = encoder(name)

    with torch.inference_mode():
        together = net.encode(images).embedding
        alone = torch.cat([net.encode(image[None]).embedding for image in images])

    assert change(together, alone) < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_folding_changes_nothing(name: str, images: Tensor) -> None:
    net = encoder(name)

    with torch.inference_mode():
        before, after = net.encode(images), folded(net).encode(images)

    assert change(before.embedding, after.embedding) < 1e-9
    assert change(before.features, after.features) < 1e-9


@pytest.mark.parametrize("side_px", [64, 128])
def test_all_encoders_have_about_the_same_size(side_px: int) -> None:
    sizes = {
        name: sum(p.numel() for p in build_encoder(name, side_px=64).parameters())
        for name in MODELS
    }
    shape = (2, 3, side_px, side_px)

    assert max(sizes.values()) < 1.1 * min(sizes.values())
    for name in MODELS:
        net = build_encoder(name, side_px=side_px)
        assert net(torch.zeros(shape)).shape == shape
