"""Convolutions that commute with rotation (Worrall et al. 2017, arXiv:1612.04642).

A feature map holds streams of rotation order m = 0..r. Rotating the image by t rotates
every stream and multiplies stream m by exp(i*m*t). Streams lie side by side in the
channels of a real tensor (N, C, H, W): first all fields of order 0, which are real,
then for each order the real parts of all fields and their imaginary parts.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RING_WIDTH_PX = 0.6  # standard deviation of a Gaussian ring; narrower rings alias
CORRELATION_PX = 2.0  # over which the maps of a photograph stay alike


class Streams(NamedTuple):
    """The make-up of a feature map: rotation orders 0..orders-1, fields in each."""

    orders: int
    fields: int

    @property
    def components(self) -> int:
        """Real numbers that one field of each order takes together."""
        return 2 * self.orders - 1

    @property
    def channels(self) -> int:
        """Channels of the real tensor."""
        return self.components * self.fields


def circular_harmonics(frequency: int, size: int) -> Tensor:
    """Return ring filters R(r) * exp(i*frequency*phi), (rings, 2, size, size).

    Entry [ring, s] is the real (0) or imaginary (1) part. phi counts from x to -y,
    counter-clockwise on the screen. An even size centres the filter between pixels.
    A photograph leaves each ring with its own variance, see `response`. Rings of a
    radius below |frequency| / 2 are left out: they have too few samples, and would
    answer to another frequency as well.
    """
    along = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    up, right = -along[:, None], along[None, :]
    radius, angle = torch.hypot(up, right), torch.atan2(up, right)
    rings = along[along >= abs(frequency) / 2][:, None, None]
    profile = torch.exp(-((radius - rings) ** 2) / (2 * RING_WIDTH_PX**2))
    if frequency != 0:
        profile = profile * (radius > 0)  # the phase is undefined at the centre
    wave = torch.stack([torch.cos(frequency * angle), torch.sin(frequency * angle)])
    filters = profile[:, None] * wave
    return filters / response(filters).sum(dim=1).sqrt()[:, None, None, None]


def response(filters: Tensor) -> Tensor:
    """Return the variance that `filters` (..., size, size) make of a map of variance 1.

    The correlation of the map falls from 1 to 1/2 with exp(-distance / CORRELATION_PX).
    """
    size = filters.shape[-1]
    along = torch.arange(size, dtype=torch.float64)
    place = torch.cartesian_prod(along, along)
    correlation = (1 + torch.exp(-torch.cdist(place, place) / CORRELATION_PX)) / 2
    flat = filters.flatten(-2)
    return ((flat @ correlation) * flat).sum(dim=-1)


def _products(frequency: int, size: int, *, conjugate: bool) -> Iterator[Tensor]:
    """Yield the kernels (2, 2, size, size) of z -> i**s * filter * (z or conj z)."""
    for re, im in circular_harmonics(frequency, size):
        for real, imaginary in ((re, im), (-im, re)):
            rows = torch.stack([real, -imaginary, imaginary, real])
            kernel = rows.reshape(2, 2, size, size)
            if conjugate:
                kernel[:, 1] *= -1
            yield kernel


def harmonic_basis(
    inputs: int, outputs: int, size: int, *, conjugate: bool = False
) -> tuple[Tensor, Tensor]:
    """Return all kernels that map `inputs` orders to `outputs` orders equivariantly.

    The basis (T, 2*outputs-1, 2*inputs-1, size, size) and the output order (T,) of each
    of its T members. A filter from order m to order n has frequency n - m; one from the
    conjugate of order m, which Worrall et al. leave out, has n + m.
    """
    kernels, orders = [], []
    for n in range(outputs):
        for m in range(inputs):
            blocks = [*_products(n - m, size, conjugate=False)]
            if conjugate and n and m:
                blocks += _products(n + m, size, conjugate=True)
            if n == m == 0:
                blocks = blocks[::2]  # i times a real filter has no real part
            for block in blocks:
                # Order 0 is real: only the first row, or column, of a product is used.
                part = block[: 1 + (n > 0), : 1 + (m > 0)]
                part = part * math.sqrt(2 if n and not m else 1)
                kernel = block.new_zeros(2 * outputs - 1, 2 * inputs - 1, size, size)
                row, column = max(0, 2 * n - 1), max(0, 2 * m - 1)
                kernel[row : row + len(part), column : column + part.shape[1]] = part
                kernels.append(kernel)
                orders.append(n)
    return torch.stack(kernels), torch.tensor(orders)


class HarmonicConv2d(nn.Module):
    """Correlate streams with circular harmonics into streams of other orders.

    Law: turning the input as streams turn the output as streams. It holds to rounding
    for quarter turns, where `stride` 1 takes an odd `size` and `stride` 2 an even one
    on an even map, so that every output lies at the centre of its filter.

    The weights of each output field are scaled to unit energy and multiplied by a
    learned gain: the output of white noise has the variance of the input times gain**2,
    for any weights, without statistics of the batch.
    """

    basis: Tensor  # (T, A * B * size * size)
    member: Tensor  # (T, orders_out), one-hot

    def __init__(
        self,
        inputs: Streams,
        outputs: Streams,
        size: int = 5,
        *,
        stride: int = 1,
        gain: float = 1.0,
        conjugate: bool = False,
    ) -> None:
        super().__init__()
        if (size - stride) % 2:
            raise ValueError(
                f"size and stride must both be odd or even, got {size} and {stride}"
            )
        self.inputs, self.outputs, self.size = inputs, outputs, size
        self.stride, self.padding = stride, (size - stride) // 2
        basis, order = harmonic_basis(
            inputs.orders, outputs.orders, size, conjugate=conjugate
        )
        self.register_buffer("basis", basis.flatten(1).float(), persistent=False)
        member = F.one_hot(order, outputs.orders).float()
        self.register_buffer("member", member, persistent=False)
        shape = (outputs.fields, inputs.fields, len(basis))
        self.weight = nn.Parameter(torch.randn(shape))
        self.gain = nn.Parameter(torch.full((outputs.fields, outputs.orders), gain))
        self.bias = nn.Parameter(torch.zeros(outputs.fields))

    def kernel(self) -> Tensor:
        """Return the equivalent real kernel (C_out, C_in, size, size)."""
        energy = self.weight.square().sum(dim=1) @ self.member
        scale = (self.gain * torch.rsqrt(energy + 1e-12)) @ self.member.T
        weight = self.weight * scale[:, None]
        full = (weight.flatten(0, 1) @ self.basis).reshape(
            self.outputs.fields,
            self.inputs.fields,
            self.outputs.components,
            self.inputs.components,
            self.size,
            self.size,
        )
        return full.permute(2, 0, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1)

    def full_bias(self) -> Tensor:
        """Return the bias (C_out,); it is 0 beyond order 0, or it would point."""
        return F.pad(self.bias, (0, self.outputs.channels - self.outputs.fields))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.full_bias(), self.stride, self.padding)
