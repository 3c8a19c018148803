"""Every layer keeps the law that its docstring states, and an ordinary one does not."""

import cmath
import math
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cellrot_train.encoders import build_encoder
from cellrot_train.encoders.hnet import STEM_WIDTHS_PX, Block, Stage, Stem
from cellrot_train.layers import harmonic
from cellrot_train.layers.activation import Rectify
from cellrot_train.layers.correlation import multiply_in
from cellrot_train.layers.folding import folded
from cellrot_train.layers.harmonic import HarmonicConv2d, HarmonicRead, Streams
from cellrot_train.layers.plain import ScaledConv2d
from cellrot_train.layers.pooling import (
    Blur,
    Disc,
    DiscMean,
    Energy,
    Halve,
    Invariants,
)
from cellrot_train.layers.rings import ring_sums
from cellrot_train.layers.rotation import Turn

MIXED, SCALAR, COLOURS = Streams(3, 4), Streams(1, 4), Streams(1, 3)
MANY = Streams(1, 18)  # more than a map of theirs has pixels along a side
ROUNDING = 1e-6
ANGLES_RAD = [math.radians(degrees) for degrees in (10, 30, 45, 77, 200)]


class Case(NamedTuple):
    """A layer, the streams that it takes and gives, and the side of its input."""

    build: Callable[[], nn.Module]
    inputs: Streams
    outputs: Streams
    side_px: int = 17

    def layer(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval()


def gates(*, fine: bool = False) -> Rectify:
    """Return a rectifier whose fields look at all others, as they learn to."""
    layer = Rectify(MIXED, fine=fine)
    nn.init.normal_(layer.weight)
    return layer


# Of odd sides, so that a pixel lies in the centre and stays there when the map turns.
MAPS = {
    "convolution": Case(lambda: HarmonicConv2d(MIXED, MIXED), MIXED, MIXED),
    "conjugate": Case(
        lambda: HarmonicConv2d(MIXED, MIXED, conjugate=True), MIXED, MIXED
    ),
    "order 0": Case(lambda: HarmonicConv2d(SCALAR, SCALAR), SCALAR, SCALAR),
    "rings": Case(lambda: HarmonicConv2d(SCALAR, MANY), SCALAR, MANY),
    "stride 2": Case(
        lambda: HarmonicConv2d(COLOURS, MIXED, 8, 2, widths_px=STEM_WIDTHS_PX),
        COLOURS, MIXED, 34,
    ),
    "halve": Case(lambda: Halve(MIXED.channels), MIXED, MIXED, 34),
    "blur": Case(lambda: Blur(MIXED.channels), MIXED, MIXED),
    "disc": Case(lambda: Disc(17), MIXED, MIXED),
    "rectify": Case(lambda: Rectify(MIXED), MIXED, MIXED),
    "gates": Case(gates, MIXED, MIXED),
    "fine gates": Case(partial(gates, fine=True), MIXED, MIXED),
    "stem": Case(lambda: Stem(MIXED, 17), COLOURS, MIXED, 34),
    "stage": Case(lambda: Stage(MIXED, MIXED, 17), MIXED, MIXED, 34),
    "block": Case(lambda: Block(MIXED, 17), MIXED, MIXED),
}  # fmt: skip
NUMBERS = {
    "read": Case(lambda: HarmonicRead(MIXED, MIXED, 17), MIXED, MIXED),
    "mean": Case(lambda: DiscMean(17), MIXED, MIXED),
    "invariants": Case(
        lambda: nn.Sequential(Disc(17), Energy(), Invariants([MIXED], [17])),
        MIXED, Streams(1, 12),
    ),
}  # fmt: skip
ORDINARY = {
    "convolution": Case(
        lambda: nn.Conv2d(MIXED.channels, MIXED.channels, 5, padding=2), MIXED, MIXED
    ),
    "activation": Case(nn.ReLU, MIXED, MIXED),
    "stride 2": Case(lambda: nn.Conv2d(3, 4, 3, 2, 1), COLOURS, SCALAR, 34),
}
# Of the norm, at other angles than quarter turns.
TOLERANCES = {
    "disc": ROUNDING,  # its centre is left alone
    "rectify": ROUNDING,  # looks at no neighbours
    "gates": ROUNDING,
    "blur": 1e-3,
    "fine gates": 2e-3,  # look at their neighbours, which lie in a square
    "halve": 3e-3,  # eight taps each way are not quite round
    "order 0": 5e-4,
    "rings": 5e-4,
    "convolution": 2e-3,  # five taps hold two waves around a centre
    "conjugate": 0.02,  # and four waves less well
    "stride 2": 0.015,  # sees blobs at half their size
    "stem": 0.015,
    "stage": 2e-3,
    "block": 1e-3,  # adds the input, which turns as it is
    "read": 5e-4,  # sums of a whole map come near to integrals
    "mean": 3e-3,
    "invariants": 3e-3,
}


def parts(x: Tensor, streams: Streams) -> Tensor:
    """Return streams (N, C, ...) as complex numbers (N, orders, fields, ...)."""
    fields, rest = streams.fields, (streams.orders - 1) * streams.fields
    scalar, real, imaginary = x.split([fields, rest, rest], dim=1)
    z = torch.cat([scalar + 0j, torch.complex(real, imaginary)], dim=1)
    return z.unflatten(1, (streams.orders, fields))


def whole(z: Tensor) -> Tensor:
    """Return the streams (N, C, ...) of complex numbers (N, orders, fields, ...)."""
    others = z[:, 1:].flatten(1, 2)
    return torch.cat([z[:, 0].real, others.real, others.imag], dim=1)


def phases(x: Tensor, streams: Streams, angle_rad: float) -> Tensor:
    """Return streams with each order m multiplied by exp(i * m * angle)."""
    order = torch.arange(streams.orders)
    factor = torch.polar(torch.ones(streams.orders), order * angle_rad)
    z = parts(x, streams)
    return whole(z * factor.reshape(1, -1, *[1] * (z.ndim - 2)))


def drawn(streams: Streams, side_px: int, angle_rad: float = 0.0) -> Tensor:
    """Return 8 maps of streams, drawn by formula and turned by `angle_rad`."""
    shape = (8, streams.orders, streams.fields, 6)  # six smooth blobs a field
    chance = torch.Generator().manual_seed(0)
    radius, around, phase, size = (
        torch.rand(shape, generator=chance) for _ in range(4)
    )
    centre = torch.polar(0.3 * radius, 2 * math.pi * around)[..., None, None]
    along = (torch.arange(side_px) + 0.5) / side_px - 0.5
    place = torch.complex(along[None, :], -along[:, None]) * cmath.exp(-1j * angle_rad)
    width = (3 + 2 * size[..., None, None]) / 34
    blobs = torch.exp(-((place - centre).abs() ** 2) / (2 * width**2))
    colour = torch.polar(torch.ones(shape), 2 * math.pi * phase)[..., None, None]
    return phases(whole((colour * blobs).sum(dim=3)), streams, angle_rad)


def centre(x: Tensor) -> Tensor:
    """Return the pixel in the centre of maps of odd side, or numbers as they are."""
    return x if x.ndim == 2 else x[..., x.shape[-1] // 2, x.shape[-1] // 2]


def change(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@torch.no_grad()
def quarter_error(case: Case) -> float:
    """Return how badly the layer keeps its law when the map turns by 90 degrees."""
    layer, x = case.layer(), drawn(case.inputs, case.side_px)
    found = layer(phases(x.rot90(1, (2, 3)), case.inputs, math.pi / 2))
    expected = layer(x)
    if expected.ndim == 4:
        expected = expected.rot90(1, (2, 3))
    return change(found, phases(expected, case.outputs, math.pi / 2))


@torch.no_grad()
def angle_error(case: Case) -> float:
    """Return how badly it keeps it at other angles, where the map stays in place."""
    layer = case.layer()
    expected = centre(layer(drawn(case.inputs, case.side_px)))
    return max(
        change(
            centre(layer(drawn(case.inputs, case.side_px, angle_rad))),
            phases(expected, case.outputs, angle_rad),
        )
        for angle_rad in ANGLES_RAD
    )


LAYERS = MAPS | NUMBERS
LEARNED = ("convolution", "conjugate", "order 0", "rings", "stride 2")


@pytest.mark.parametrize("name", LAYERS)
def test_quarter_turns_are_exact(name: str) -> None:
    assert quarter_error(LAYERS[name]) < ROUNDING


@pytest.mark.parametrize("name", LAYERS)
def test_other_angles_are_within_the_tolerance(name: str) -> None:
    assert angle_error(LAYERS[name]) < TOLERANCES[name]


@pytest.mark.parametrize("name", ORDINARY)
def test_the_checks_reject_ordinary_layers(name: str) -> None:
    assert quarter_error(ORDINARY[name]) > 0.05
    assert angle_error(ORDINARY[name]) > 0.05


def waves(side_px: int, angle_rad: float, least_px: float = 8.0) -> Tensor:
    """Return 8 images of waves of this length or longer, turned by `angle_rad`."""
    chance = torch.Generator().manual_seed(0)
    across, around, phase = torch.rand((3, 8, 3, 40, 1, 1), generator=chance)
    along = torch.arange(side_px) - (side_px - 1) / 2
    place = torch.complex(along[None, :], -along[:, None]) * cmath.exp(-1j * angle_rad)
    run = place * torch.polar(across.sqrt() / least_px, 2 * math.pi * around)
    images = torch.cos(2 * math.pi * (run.real + phase)).mean(dim=2)
    return images / images.std() * torch.exp(-((place.abs() / (side_px / 5)) ** 2))


def energy_error(stem: Stem) -> float:
    """Return how far a turn of the image moves the energies of the map of a stem."""
    read = nn.Sequential(stem, Energy(), Invariants([MIXED], [17]))
    upright, *turned = (read(waves(34, angle_rad)) for angle_rad in (0, *ANGLES_RAD))
    return max(change(found, upright) for found in turned)


@torch.no_grad()
def test_gates_as_fine_as_their_map_would_show_the_angle() -> None:
    torch.manual_seed(0)
    stems = [Stem(MIXED, 17) for _ in range(8)]
    for stem in stems:
        nn.init.normal_(stem.rectify.weight, std=0.5)
    blurred = fmean(map(energy_error, stems))
    for stem in stems:
        stem.rectify.blur = None

    assert blurred < 0.025
    assert fmean(map(energy_error, stems)) > 1.2 * blurred


@pytest.mark.parametrize("name", LAYERS)
def test_a_map_does_not_depend_on_its_batch(name: str) -> None:
    case = LAYERS[name]
    layer, x = case.layer(), drawn(case.inputs, case.side_px)

    alone = torch.cat([layer(one[None]) for one in x])

    assert change(layer(x), alone) < ROUNDING


def photographs(streams: Streams, side_px: int) -> Tensor:
    """Return noise that is alike over some pixels, with a mean where that is real."""
    x = torch.randn(32, streams.channels, side_px, side_px)
    x = nn.functional.avg_pool2d(x, 5, stride=1, padding=2)
    x = x / x.std()
    x[:, : streams.fields] += 1
    return x / x.square().mean().sqrt()


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("name", LEARNED)
def test_every_order_keeps_its_energy_whatever_the_weights(
    name: str, scale: float
) -> None:
    case = MAPS[name]
    layer, x = case.layer(), photographs(case.inputs, case.side_px)
    assert isinstance(layer, HarmonicConv2d)
    layer.mixture.weight.data *= scale

    with torch.no_grad():
        found = parts(layer(x), case.outputs).abs().square().mean(dim=(0, 2, 3, 4))
    found[1:] /= 2  # beyond order 0 a value is two numbers

    for order in found:
        assert 1 / 3 < (order / x.square().mean()).item() < 3


@pytest.mark.parametrize(
    "name", [*LEARNED, "gates", "fine gates", "stem", "stage", "block", "read"]
)
def test_folding_keeps_what_a_layer_computes(name: str) -> None:
    case = LAYERS[name]
    net, x = nn.Sequential(case.layer()), drawn(case.inputs, case.side_px)

    with torch.no_grad():
        assert change(folded(net)(x), net(x)) < ROUNDING


def test_rings_give_and_teach_what_the_kernel_does() -> None:
    torch.manual_seed(0)
    layer = HarmonicConv2d(SCALAR, MANY).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(3, SCALAR.channels, 17, 12, dtype=torch.float64)

    by_rings, by_kernel = (
        teaching(layer, give, x)
        for give in (
            layer,
            lambda maps: layer.correlate(maps, layer.kernel(), layer.full_bias()),
        )
    )

    for found, expected in zip(by_rings, by_kernel, strict=True):
        torch.testing.assert_close(found, expected)


def teaching(
    layer: nn.Module, give: Callable[[Tensor], Tensor], x: Tensor
) -> list[Tensor]:
    """Return what `give` makes of x, and the slopes that x and the layer get of it."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = give(x)
    y.sin().sum().backward()
    slopes = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    return [y.detach(), *(slope for slope in slopes if slope is not None)]


def test_rings_are_taken_where_fields_are_many_and_products_are_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def watched(maps: Tensor, rings: Tensor) -> Tensor:
        seen.append(tuple(maps.shape[1:]))
        return ring_sums(maps, rings)

    monkeypatch.setattr(harmonic, "ring_sums", watched)
    encoder = build_encoder("hnet-r0", side_px=64, embedding_size=64)
    images = torch.rand(1, 3, 64, 64)

    encoder.encode(images)
    assert seen == [(32, 16, 16), (64, 16, 16), (64, 16, 16)]
    multiply_in(torch.bfloat16, encoder)
    encoder.encode(images)
    assert len(seen) == 3


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("name", ["stage", "rings", "read", "invariants"])
def test_a_layer_compiles_as_one_graph(name: str, learning: bool) -> None:
    case = LAYERS[name]
    layer, x = case.layer(), drawn(case.inputs, case.side_px)

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")

    with torch.set_grad_enabled(learning):
        assert change(compiled(x), layer(x)) < ROUNDING


@pytest.mark.parametrize("fine", [False, True])
def test_gates_give_the_same_whether_or_not_they_learn(fine: bool) -> None:
    layer, x = gates(fine=fine), drawn(MIXED, 16)

    with torch.no_grad():
        used = layer(x)

    assert torch.equal(layer(x), used)


@pytest.mark.parametrize(
    "layer", [HarmonicConv2d(MIXED, MIXED), ScaledConv2d(20, 8, 3)]
)
def test_products_are_narrow_in_training_and_nowhere_else(layer: nn.Module) -> None:
    x = torch.randn(2, 20, 9, 9)
    exact = layer(x)
    multiply_in(torch.bfloat16, nn.Sequential(layer))
    trained, used = layer.train()(x), layer.eval()(x)
    trained.sum().backward()

    assert torch.equal(used, exact)
    assert trained.dtype == torch.float32
    assert 1e-4 < ((trained - exact).norm() / exact.norm()).item() < 1e-2
    assert all(part.grad is not None for part in layer.parameters())


@pytest.mark.parametrize(
    "layer", [HarmonicConv2d(MIXED, MIXED), ScaledConv2d(20, 8, 3)]
)
def test_autocast_keeps_its_narrow_maps(layer: nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.train()(torch.randn(2, 20, 9, 9)).dtype == torch.bfloat16


def test_turning_an_image_is_drawing_it_turned() -> None:
    image = drawn(COLOURS, 64)

    for angle_rad in (*ANGLES_RAD, math.pi / 2):
        vector = torch.tensor([math.cos(angle_rad), math.sin(angle_rad)]).expand(8, 2)
        turned = Disc(64)(Turn(64)(image, vector))
        expected = Disc(64)(drawn(COLOURS, 64, angle_rad))
        assert change(turned, expected) < 0.02  # it reads between pixels


def test_a_filter_off_its_centre_is_refused() -> None:
    for size, stride in ((4, 1), (5, 2)):
        with pytest.raises(ValueError, match="must both be odd or even"):
            HarmonicConv2d(MIXED, MIXED, size, stride)


def test_more_orders_hold_more_maps() -> None:
    """Orders beyond 0 have a real and an imaginary part, and filters with phases."""
    plain, mixed = HarmonicConv2d(SCALAR, SCALAR), HarmonicConv2d(MIXED, MIXED)
    both = HarmonicConv2d(MIXED, MIXED, conjugate=True)

    assert plain.kernel().shape == (4, 4, 5, 5)
    assert mixed.kernel().shape == (20, 20, 5, 5)
    assert plain.mixture.weight.numel() < mixed.mixture.weight.numel()
    assert mixed.mixture.weight.numel() < both.mixture.weight.numel()
