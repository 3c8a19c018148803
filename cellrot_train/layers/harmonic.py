"""Convolutions that commute with rotation (Worrall et al. 2017, arXiv:1612.04642).

A feature map holds streams of rotation order m = 0..r. Rotating the image by t rotates
every stream and multiplies stream m by exp(i*m*t). Streams lie side by side in the
channels of a real tensor (N, C, H, W): first all fields of order 0, which are real,
then the real parts of all fields of order 1, 2 and so on, then their imaginary parts.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellrot_train.layers.basis import Basis, harmonic_basis
from cellrot_train.layers.correlation import Correlation
from cellrot_train.layers.rings import ring_sums

WIDTHS_PX = (0.3, 0.6, 0.9, 1.2)  # of the filters on a 5x5 grid
LEAST_WIDTH_PX = 0.8  # of a filter with an angle, times its stride; less aliases


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


class Mixture(nn.Module):
    """Learned mixtures of fixed kernels, one mixture for each pair of fields.

    `kernels` (T, components out, components in, P) become weights (C_out, C_in, P).
    Those of each output field are scaled so that a photograph keeps its mean square,
    whatever was learned, and multiplied by a learned gain. This normalisation needs no
    statistics of the batch, and is part of the weights once they are folded.
    """

    kernels: Tensor  # (T, components out * components in * P)
    order: Tensor  # (T, orders out), one-hot
    energy: Tensor  # (T, orders out)

    def __init__(
        self, inputs: Streams, outputs: Streams, basis: Basis, kernels: Tensor
    ) -> None:
        super().__init__()
        order = F.one_hot(basis.order, outputs.orders).float()
        energy = order * basis.energy[:, None].float()
        self.register_buffer("kernels", kernels.flatten(1).float(), persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("energy", energy, persistent=False)
        self.shape = kernels.shape[1:]
        weight = torch.randn(outputs.fields, inputs.fields, len(order))
        self.weight = nn.Parameter(weight / math.sqrt(weight[0].numel()))
        self.gain = nn.Parameter(torch.ones(outputs.fields, outputs.orders))

    def shares(self) -> Tensor:
        """Return how much of each kernel there is in each mixture, (F_out, F_in, T)."""
        energy = self.weight.square().sum(dim=1) @ self.energy
        scale = (self.gain * torch.rsqrt(energy + 1e-12)) @ self.order.T
        return self.weight * scale[:, None]

    def forward(self) -> Tensor:
        mixed = self.shares() @ self.kernels
        planar = mixed.unflatten(-1, self.shape).permute(2, 0, 3, 1, 4)
        return planar.flatten(2, 3).flatten(0, 1)


class HarmonicConv2d(Correlation):
    """Correlate streams with circular harmonics into streams of other orders.

    Law: turning the input as streams turns the output as streams. It holds to rounding
    for quarter turns, where `stride` 1 takes an odd `size` and `stride` 2 an even one
    on an even map, so that every output lies at the centre of its filter.
    """

    def __init__(
        self,
        inputs: Streams,
        outputs: Streams,
        size: int = 5,
        stride: int = 1,
        *,
        widths_px: tuple[float, ...] = WIDTHS_PX,
        conjugate: bool = False,
    ) -> None:
        super().__init__()
        if (size - stride) % 2:
            raise ValueError(
                f"size and stride must both be odd or even, got {size} and {stride}"
            )
        self.inputs, self.outputs, self.size = inputs, outputs, size
        self.stride, self.padding = stride, (size - stride) // 2
        orders, least_px = (inputs.orders, outputs.orders), stride * LEAST_WIDTH_PX
        basis = harmonic_basis(orders, size, widths_px, least_px, conjugate=conjugate)
        kernels = basis.kernels @ basis.filters.flatten(1)
        self.mixture = Mixture(inputs, outputs, basis, kernels)
        self.bias = nn.Parameter(torch.zeros(outputs.fields))

    def kernel(self) -> Tensor:
        """Return the equivalent real kernel (C_out, C_in, size, size)."""
        return self.mixture().unflatten(-1, (self.size, self.size))

    def full_bias(self) -> Tensor:
        """Return the bias (C_out,); it is 0 beyond order 0, or it would point."""
        return F.pad(self.bias, (0, self.outputs.channels - self.outputs.fields))

    def forward(self, x: Tensor) -> Tensor:
        if self._has_rings_for(x):
            return self._through_rings(x)
        return self.correlate(x, self.kernel(), self.full_bias())

    def _has_rings_for(self, x: Tensor) -> bool:
        """Tell whether rings are the faster way: on a CPU, for many small maps.

        A map of S x S costs some 15 S products a pixel and channel on that way, and
        the convolution 25 for each field that it gives.
        """
        only_scalars = self.inputs.orders == self.outputs.orders == 1
        in_float32 = self.products is None or not self.training
        small = self.outputs.fields > max(x.shape[2:])
        return only_scalars and self.stride == 1 and in_float32 and small and x.is_cpu

    def _through_rings(self, x: Tensor) -> Tensor:
        """Return the same as by the kernel, in another order of summing."""
        middle = self.size // 2
        filters = self.mixture.kernels.unflatten(1, (self.size, self.size))
        sums = ring_sums(x, filters[:, middle:, middle:])
        shares = self.mixture.shares().flatten(1)
        maps = torch.baddbmm(
            self.bias[:, None], shares.expand(len(x), -1, -1), sums.flatten(2)
        )
        return maps.view(len(x), self.outputs.fields, *x.shape[2:])

    def folded(self) -> nn.Module:
        """Return the ordinary convolution that computes the same."""
        sizes = self.inputs.channels, self.outputs.channels, self.size
        conv = nn.Conv2d(*sizes, self.stride, self.padding)
        conv.weight = nn.Parameter(self.kernel().detach(), requires_grad=False)
        conv.bias = nn.Parameter(self.full_bias().detach(), requires_grad=False)
        return conv


class Moments(nn.Module):
    """Project maps (N, C, S, S) on M fixed filters of the size of the map: (N, C*M)."""

    filters: Tensor  # (M, S * S)

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        flat = filters.flatten(1).float().contiguous()
        self.register_buffer("filters", flat, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(2), self.filters).flatten(1)


class HarmonicRead(nn.Module):
    """Read whole maps (N, C, S, S) with circular harmonics of their size: (N, C_out).

    What a harmonic convolution with an S x S kernel gives at the one place where the
    kernel covers the map, with a hundredth of the work. Law: turning the input as
    streams multiplies order m of the output by exp(i*m*t).
    """

    def __init__(
        self,
        inputs: Streams,
        outputs: Streams,
        side_px: int,
        *,
        widths: tuple[float, ...] = (0.08, 0.14, 0.21, 0.3),
    ) -> None:
        super().__init__()
        widths_px = tuple(width * side_px for width in widths)
        orders = inputs.orders, outputs.orders
        basis = harmonic_basis(orders, side_px, widths_px, LEAST_WIDTH_PX)
        self.moments = Moments(basis.filters)
        self.mixture = Mixture(inputs, outputs, basis, basis.kernels)
        self.bias = nn.Parameter(torch.zeros(outputs.fields))
        self.outputs = outputs

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return weight (C_out, C_in * M) and bias (C_out,) of the map from moments."""
        bias = F.pad(self.bias, (0, self.outputs.channels - self.outputs.fields))
        return self.mixture().flatten(1), bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.moments(x), *self.matrix())

    def folded(self) -> nn.Module:
        """Return the moments and the ordinary linear layer that compute the same."""
        weight, bias = (part.detach() for part in self.matrix())
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.bias = nn.Parameter(bias, requires_grad=False)
        return nn.Sequential(self.moments, linear)
