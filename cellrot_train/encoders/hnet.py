"""Harmonic encoders: what they give is invariant by construction, not by training."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.decoder import Decoder
from cellrot_train.layers.activation import Rectify
from cellrot_train.layers.harmonic import HarmonicConv2d, HarmonicRead, Streams
from cellrot_train.layers.pooling import Disc, Energy, Halve, Invariants
from cellrot_train.layers.rotation import Turn, unit, unturning
from cellrot_train.layers.sizes import halvings

SMALLEST_MAP_PX = 12
STEM_WIDTHS_PX = (0.9, 1.2, 1.6, 2.1)
RECTIFIED_GAIN = 1.4  # keeps the energy through a ReLU, which halves it
RESIDUAL_GAIN = 0.5
CODE_ORDERS = 5  # of the whole map's harmonics: with 3, lobes are lost
FINE_GAIN = 0.5  # at first, of orders that the maps have not: they turn less exactly
WEAK = 1.0  # |z| at which an orientation is believed by half: |u|**2 is 0.5


class Stage(nn.Module):
    """Halve the map and convolve it. Law: equivariant."""

    def __init__(self, inputs: Streams, outputs: Streams, side_px: int) -> None:
        super().__init__()
        self.halve, self.disc = Halve(inputs.channels), Disc(side_px)
        self.conv, self.rectify = HarmonicConv2d(inputs, outputs), Rectify(outputs)
        nn.init.constant_(self.conv.mixture.gain, RECTIFIED_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return self.disc(self.rectify(self.conv(self.disc(self.halve(x)))))


class Block(nn.Module):
    """Add what a convolution finds. Law: equivariant."""

    def __init__(self, streams: Streams, side_px: int) -> None:
        super().__init__()
        self.conv, self.rectify = HarmonicConv2d(streams, streams), Rectify(streams)
        self.disc = Disc(side_px)
        nn.init.constant_(self.conv.mixture.gain, RESIDUAL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return self.disc(self.rectify(x + self.conv(x)))


class Stem(nn.Module):
    """Images (N, 3, S, S) to streams of half the side. Law: equivariant."""

    def __init__(self, outputs: Streams, side_px: int) -> None:
        super().__init__()
        colours = Streams(1, 3)
        self.conv = HarmonicConv2d(colours, outputs, 8, 2, widths_px=STEM_WIDTHS_PX)
        self.rectify, self.disc = Rectify(outputs, fine=True), Disc(side_px)
        nn.init.constant_(self.conv.mixture.gain, RECTIFIED_GAIN)

    def forward(self, images: Tensor) -> Tensor:
        return self.disc(self.rectify(self.conv(images)))


class Trunk(nn.Module):
    """Images (N, 3, S, S) to streams of the smallest map, and invariants of all.

    `fields` of the map of half the side, of a quarter and so on; `blocks` follow on the
    last.
    """

    def __init__(
        self, orders: int, fields: list[int], blocks: int, side_px: int
    ) -> None:
        super().__init__()
        streams = [Streams(orders, count) for count in fields]
        sides_px = [side_px >> (step + 1) for step in range(len(fields))]
        self.outputs, self.side_px = streams[-1], sides_px[-1]
        self.steps = nn.ModuleList([Stem(streams[0], sides_px[0])])
        for (inputs, outputs), side in zip(
            pairwise(streams), sides_px[1:], strict=True
        ):
            self.steps.append(Stage(inputs, outputs, side))
        for _ in range(blocks):
            self.steps.append(Block(self.outputs, self.side_px))
        streams += [self.outputs] * blocks
        sides_px += [self.side_px] * blocks
        self.energy, self.invariants = Energy(), Invariants(streams, sides_px)
        self.feature_size = sum(orders * stream.fields for stream in streams)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energies = []
        for step in self.steps:
            x = step(x)
            energies.append(self.energy(x))
        return x, self.invariants(torch.cat(energies, dim=1))


class InvariantCode(nn.Module):
    """The code of order 0: it tells nothing of the angle. Law: invariant."""

    def __init__(self, read: HarmonicRead, embedding_size: int) -> None:
        super().__init__()
        self.read = read
        self.linear = nn.Linear(read.outputs.fields, embedding_size)

    def forward(self, streams: Tensor) -> tuple[Tensor, None]:
        return self.linear(self.read(streams)), None


class CanonicalCode(nn.Module):
    """The code in a canonical pose, and the orientation (N, 2) of the image.

    The phase u of the first order-1 field is the orientation. Turning each order m back
    by u**m leaves invariants, which still know how the parts of a cell lie to each
    other; magnitudes would not. Law: the code is invariant, the orientation turns.
    """

    first: Tensor  # (2,): the channels of the first order-1 field

    def __init__(self, read: HarmonicRead, embedding_size: int) -> None:
        super().__init__()
        self.read, self.streams = read, read.outputs
        both_parts = torch.tensor([1, self.streams.orders]) * self.streams.fields
        self.register_buffer("first", both_parts, persistent=False)
        self.linear = nn.Linear(self.streams.channels, embedding_size)

    def forward(self, streams: Tensor) -> tuple[Tensor, Tensor]:
        fields, orders = self.streams.fields, self.streams.orders
        z = self.read(streams)
        scalars, turning = z.split([fields, 2 * (orders - 1) * fields], dim=1)
        first = z.index_select(1, self.first)
        once = unturning(_fading(first)).unflatten(0, (-1, 1))
        back = [once]  # by one order, by two, ...
        while len(back) < orders - 1:
            back.append(once @ back[-1])
        turning = turning.unflatten(1, (2, orders - 1, fields)).transpose(1, 2)
        code = torch.cat(back, dim=1) @ turning
        return self.linear(torch.cat([scalars, code.flatten(1)], dim=1)), unit(first)


def _fading(z: Tensor) -> Tensor:
    """Return the unit vectors of z (N, 2), shorter where z is weak.

    The phase of a nearly round cell is noise. Turned back by a phase that fades, its
    code fades too, instead of jumping.
    """
    beside = F.pad(z, (0, 1), value=WEAK)
    return z / torch.linalg.vector_norm(beside, dim=1, keepdim=True)


class HarmonicEncoder(AutoEncoder):
    """Auto-encoder of rotation orders 0..orders-1.

    With order 0 alone the reconstruction is made of rings. With more, the decoder
    paints in the canonical pose and its image is turned by the orientation.
    """

    def __init__(
        self, trunk: Trunk, codes: Streams, side_px: int, embedding_size: int
    ) -> None:
        super().__init__()
        self.trunk = trunk
        read = HarmonicRead(trunk.outputs, codes, trunk.side_px)
        nn.init.constant_(read.mixture.gain[:, trunk.outputs.orders :], FINE_GAIN)
        code = InvariantCode if codes.orders == 1 else CanonicalCode
        self.code: nn.Module = code(read, embedding_size)
        self.decoder, self.turn = Decoder(embedding_size, side_px), Turn(side_px)
        self.embedding_size = embedding_size
        self.feature_size = trunk.feature_size + embedding_size

    def encode(self, images: Tensor) -> Encoding:
        streams, pooled = self.trunk(images)
        code, orientation = self.code(streams)
        return Encoding(code, torch.cat([pooled, code], dim=1), orientation)

    def decode(self, encoding: Encoding) -> Tensor:
        painted: Tensor = self.decoder(encoding.embedding)
        if encoding.orientation is None:
            return painted
        return self.turn(painted, encoding.orientation)


def fields_of(width: int, side_px: int) -> list[int]:
    """Return the fields of each map, with `width` a step before the smallest."""
    steps = halvings(side_px, SMALLEST_MAP_PX)
    return [*(width >> k for k in range(steps - 2, 0, -1)), width, 2 * width]


def hnet_r0(width: int, side_px: int, embedding_size: int) -> HarmonicEncoder:
    """Return the encoder of order 0, with `width` fields a step before the last."""
    trunk = Trunk(1, fields_of(width, side_px), 2, side_px)
    return HarmonicEncoder(trunk, Streams(1, 3 * width), side_px, embedding_size)


def hnet_r2(width: int, side_px: int, embedding_size: int) -> HarmonicEncoder:
    """Return the encoder of orders 0 to 2, `width` fields a step before the last.

    The maps have these orders; what is read of the last one as a whole has more.
    """
    trunk = Trunk(3, fields_of(width, side_px), 3, side_px)
    codes = Streams(CODE_ORDERS, 2 * width)
    return HarmonicEncoder(trunk, codes, side_px, embedding_size)
