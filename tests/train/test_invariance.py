"""What an encoder promises of turned cells, on real ones, and who does not keep it."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks import layers
from cellrot_train.config import MODELS
from cellrot_train.data import load_patch_set
from cellrot_train.encoders import build_encoder
from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.hnet import CanonicalCode
from cellrot_train.intake import Intake
from cellrot_train.layers.folding import folded
from cellrot_train.layers.harmonic import Streams
from cellrot_train.objectives import turn_vector
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


class Given(nn.Module):
    """Reads nothing: its input is what a map would have said."""

    outputs = Streams(5, 6)

    def forward(self, z: Tensor) -> Tensor:
        return z


def turned_streams(z: Tensor, streams: Streams, angle_rad: Tensor) -> Tensor:
    """Return z (N, C) of images that were turned by `angle_rad` (N,)."""
    scalars, rest = z.split([streams.fields, len(z[0]) - streams.fields], dim=1)
    parts = rest.unflatten(1, (2, streams.orders - 1, streams.fields))
    order = torch.arange(1, streams.orders).to(z)[:, None]
    phase = torch.exp(1j * order * angle_rad[:, None, None])
    found = torch.complex(parts[:, 0], parts[:, 1]) * phase
    return torch.cat([scalars, found.real.flatten(1), found.imag.flatten(1)], dim=1)


@given(st.integers(0, 2**32 - 1))
def test_the_code_is_the_same_at_any_angle_and_knows_every_order(seed: int) -> None:
    torch.manual_seed(seed)
    streams = Given.outputs
    code = CanonicalCode(Given(), 8).double()  # type: ignore[arg-type]
    z = torch.randn(4, streams.channels, dtype=torch.float64)
    angle_rad = 2 * math.pi * torch.rand(4, dtype=torch.float64)

    before, orientation = code(z)
    after, now = code(turned_streams(z, streams, angle_rad))

    assert torch.allclose(before, after, atol=1e-9)
    assert torch.allclose(turn_vector(orientation, angle_rad), now, atol=1e-9)
    for order in range(streams.orders):
        other = z.clone()
        other[:, order * streams.fields + 1] += 1  # not the field of the orientation
        assert change(before, code(other)[0]) > 1e-4


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


@pytest.mark.parametrize("side_px", [32, 48, 64, 96, 128, 256])
def test_all_encoders_have_about_the_same_size(side_px: int) -> None:
    nets = [build_encoder(name, side_px=side_px) for name in MODELS]
    sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
    images = torch.zeros(2, 3, side_px, side_px)

    assert max(sizes) < 1.1 * min(sizes)
    assert all(net(images).shape == images.shape for net in nets)
