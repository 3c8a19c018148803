"""Harmonic encoders: what they give is invariant by construction, not by training."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.decoder import Decoder
from cellrot_train.layers.activation import Rectify
from cellrot_train.layers.harmonic import HarmonicConv2d, Streams
from cellrot_train.layers.pooling import Invariants
from cellrot_train.layers.rotation import Turn, conjugate, product
from cellrot_train.layers.sizes import halvings

SMALLEST_MAP_PX = 8
GAIN = 1.4  # keeps the energy through a ReLU, which halves it
WEAK = 0.1  # |z|**2 at which half of an orientation is believed


class Stage(nn.Module):
    """Halve the map, then one residual convolution. Law: equivariant."""

    def __init__(self, inputs: Streams, outputs: Streams, *, residual: bool) -> None:
        super().__init__()
        self.down = HarmonicConv2d(inputs, outputs, 6, stride=2, gain=GAIN)
        self.rectify = Rectify(outputs)
        self.conv = HarmonicConv2d(outputs, outputs, 5) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectify(self.down(x))
        return x if self.conv is None else self.rectify(x + self.conv(x))


class Trunk(nn.Module):
    """Images (N, 3, S, S) to streams of the smallest map, and invariants of all."""

    def __init__(self, orders: int, fields: list[int], side_px: int) -> None:
        super().__init__()
        streams = [Streams(1, 3), *(Streams(orders, count) for count in fields)]
        pairs = pairwise(streams)
        self.stages = nn.ModuleList(
            Stage(inputs, outputs, residual=index > 0)
            for index, (inputs, outputs) in enumerate(pairs)
        )
        self.invariants = nn.ModuleList(
            Invariants(outputs, side_px >> (index + 1))
            for index, outputs in enumerate(streams[1:])
        )
        self.feature_size = orders * sum(fields)
        self.outputs = streams[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = []
        for stage, invariants in zip(self.stages, self.invariants, strict=True):
            x = stage(x)
            features.append(invariants(x))
        return x, torch.cat(features, dim=1)


class HarmonicEncoder(AutoEncoder):
    """Auto-encoder of highest rotation order `orders` - 1.

    The code is read from the whole last map by harmonics of its size. Order 0 alone
    tells nothing of the angle. With more orders, the phase u of one order-1 field is
    the orientation; turning order m back by u**m leaves invariants, from which the
    decoder paints the cell in a canonical pose, and its image is turned by u.
    """

    def __init__(
        self, orders: int, fields: list[int], side_px: int, embedding_size: int
    ) -> None:
        super().__init__()
        self.trunk = Trunk(orders, fields, side_px)
        components = 2 * orders - 1
        code = Streams(orders, math.ceil((embedding_size + 1) / components))
        if orders == 1:
            code = Streams(1, embedding_size)
        size = side_px >> len(fields)
        self.read = HarmonicConv2d(self.trunk.outputs, code, size, stride=size)
        self.decoder = Decoder(embedding_size, side_px)
        self.turn = Turn(side_px) if orders > 1 else None
        self.code = code
        self.embedding_size = embedding_size
        self.feature_size = self.trunk.feature_size + embedding_size

    def encode(self, images: Tensor) -> Encoding:
        streams, pooled = self.trunk(images)
        z = self.read(streams).flatten(1)
        if self.turn is None:
            return Encoding(z, torch.cat([pooled, z], dim=1))
        fields = self.code.fields
        invariant = z[:, :fields]
        z = z[:, fields:].unflatten(1, (self.code.orders - 1, 2, fields))
        z = z.transpose(2, 3)
        orientation, phase = unit(z[:, 0, 0]), fading(z[:, 0, 0])
        back, codes = conjugate(phase)[:, None], [invariant]
        turned_back = back
        for order in range(self.code.orders - 1):
            canonical = product(z[:, order], turned_back)
            codes.append(canonical.transpose(1, 2).flatten(1))
            turned_back = product(turned_back, back)
        code = torch.cat(codes, dim=1)[:, : self.embedding_size]
        return Encoding(code, torch.cat([pooled, code], dim=1), orientation)

    def decode(self, encoding: Encoding) -> Tensor:
        painted = self.decoder(encoding.embedding)
        if self.turn is None or encoding.orientation is None:
            return painted
        return self.turn(painted, encoding.orientation)


def unit(z: Tensor) -> Tensor:
    """Return the unit vectors of z (N, 2); a blank image gets one too."""
    z = z + z.new_tensor([1e-12, 0.0])
    return z * torch.rsqrt(z.square().sum(dim=1, keepdim=True))


def fading(z: Tensor) -> Tensor:
    """Return the unit vectors of z (N, 2), shorter where z is weak.

    The phase of a nearly round cell is noise. Turned back by a phase that fades, its
    code fades too, instead of jumping.
    """
    return z * torch.rsqrt(z.square().sum(dim=1, keepdim=True) + WEAK)


def hnet(orders: int, width: int, side_px: int, embedding_size: int) -> HarmonicEncoder:
    """Return an encoder of `orders` orders with `width` fields at half size."""
    steps = halvings(side_px, SMALLEST_MAP_PX)
    last = 3 * width if orders == 1 else width * 7 // 2
    fields = [width >> max(0, k) for k in range(steps - 3, 0, -1)]
    return HarmonicEncoder(
        orders, [*fields, width, 2 * width, last], side_px, embedding_size
    )
