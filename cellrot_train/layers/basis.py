"""The filters and the kernels that commute with rotation, as constant tensors.

A filter whose phase runs `frequency` times around its centre, correlated with a map
whose values turn m times with the image, gives a map whose values turn frequency + m
times. Everything here follows from that.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

CORRELATION_PX = 3.0  # over which the maps of a photograph stay alike
# A filter ends in a disc, softly. A square one reaches farther along its diagonals: the
# stem's filters of frequency 2 turned nine times worse.
BEYOND_PX, EDGE_PX = 0.6, 1.25  # the disc beyond half the side; over which it falls


class Basis(NamedTuple):
    """All T kernels that map streams to streams equivariantly, of M real filters.

    `filters` (M, size, size); `kernels` (T, components out, components in, M) mixes
    them; `order` (T,) is that of the output; `energy` (T,) is the mean square that each
    kernel makes of a photograph.
    """

    filters: Tensor
    kernels: Tensor
    order: Tensor
    energy: Tensor


def circular_harmonics(
    frequency: int, size: int, widths_px: tuple[float, ...]
) -> Tensor:
    """Return filters r**frequency * exp(-r**2 / (2 * width**2)) * exp(i*frequency*phi).

    These are derivatives of Gaussians, which turn on a grid better than sharp rings do,
    in a soft disc; a mixture of widths makes any radial profile. The result (W, 2,
    size, size), or (W, 1, size, size) for frequency 0, has real and imaginary parts and
    unit energy. phi counts from x to -y, counter-clockwise on the screen. An even size
    centres the filter between pixels.
    """
    along = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    up, right = -along[:, None], along[None, :]
    radius, angle = torch.hypot(up, right), frequency * torch.atan2(up, right)
    width = torch.tensor(widths_px, dtype=torch.float64)[:, None, None, None]
    profile = radius**frequency * torch.exp(-((radius / width) ** 2) / 2)
    parts = [torch.cos(angle), torch.sin(angle)] if frequency else [torch.ones(1, 1)]
    disc = ((size / 2 + BEYOND_PX - radius) / EDGE_PX).clamp(0, 1)
    filters = profile * disc * torch.stack(parts)
    return filters / filters.square().sum((1, 2, 3), keepdim=True).sqrt()


def response(filters: Tensor) -> Tensor:
    """Return the mean square that `filters` (..., size, size) make of a photograph.

    Of a map, rather, whose mean square is 1, whose mean is as large as its deviation,
    and whose deviation is alike over CORRELATION_PX.
    """
    along = torch.arange(filters.shape[-1], dtype=torch.float64)
    place = torch.cartesian_prod(along, along)
    alike = (1 + torch.exp(-torch.cdist(place, place) / CORRELATION_PX)) / 2
    flat = filters.flatten(-2)
    return ((flat @ alike) * flat).sum(dim=-1)


def usable_widths(
    frequency: int, size: int, widths_px: tuple[float, ...], least_px: float
) -> tuple[float, ...]:
    """Return the widths at which the grid keeps angular frequencies apart.

    A narrow filter has too few samples around its centre, of a wide one the disc cuts
    too much. Without an angle there is nothing to mix up.
    """
    widest = size / 2 / (1 + math.sqrt(frequency) / 2)
    return tuple(w for w in widths_px if not frequency or least_px <= w <= widest)


@cache
def harmonic_basis(
    orders: tuple[int, int],
    size: int,
    widths_px: tuple[float, ...],
    least_px: float,
    *,
    conjugate: bool = False,
) -> Basis:
    """Return the basis from `orders` [0] orders to `orders` [1] orders.

    A kernel from order m to order n has frequency n - m; one from the conjugate of
    order m, which Worrall et al. leave out, has n + m.
    """
    maps = [*_maps(*orders, conjugate=conjugate)]
    banks = [
        circular_harmonics(k, size, usable_widths(k, size, widths_px, least_px))
        for k in range(1 + max(abs(n - sign * m) for n, m, sign in maps))
    ]
    filters = torch.cat([bank.flatten(0, 1) for bank in banks])
    found = []
    for n, m, sign in maps:
        for block in _products(_phasors(n - sign * m, banks), conjugate=sign < 0):
            # Order 0 is real: only a row, or a column, of the product is used.
            part = block[: 1 + (n > 0), : 1 + (m > 0)]
            if part.any():  # i times a real filter has no real part
                found.append((_placed(part, (n, m), orders), n))
    kernels = torch.stack([kernel for kernel, _ in found])
    energy = (kernels.square() @ response(filters)).sum(dim=2).amax(dim=1)
    order = torch.tensor([n for _, n in found])
    return Basis(filters, kernels, order, energy)


def _maps(
    inputs: int, outputs: int, *, conjugate: bool
) -> Iterator[tuple[int, int, int]]:
    """Yield (order out, order in, 1 or, for the conjugate of the input, -1)."""
    for n in range(outputs):
        for m in range(inputs):
            yield n, m, 1
            if conjugate and n and m:
                yield n, m, -1


def _phasors(frequency: int, banks: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (real, imaginary) of each filter as mixtures (M,) of all filters."""
    one = torch.eye(sum(bank.shape[0] * bank.shape[1] for bank in banks)).double()
    k = abs(frequency)
    start = sum(bank.shape[0] * bank.shape[1] for bank in banks[:k])
    for index in range(len(banks[k])):
        if k == 0:
            yield one[start + index], 0 * one[0]
        else:
            real, imaginary = one[start + 2 * index : start + 2 * index + 2]
            yield real, math.copysign(1, frequency) * imaginary


def _products(
    phasors: Iterator[tuple[Tensor, Tensor]], *, conjugate: bool
) -> Iterator[Tensor]:
    """Yield the matrices (2, 2, M) of z -> i**s * filter * (z or conj z), s = 0, 1."""
    sign = -1 if conjugate else 1
    for re, im in phasors:
        for real, imaginary in ((re, im), (-im, re)):
            top = torch.stack([real, -sign * imaginary])
            yield torch.stack([top, torch.stack([imaginary, sign * real])])


def _placed(part: Tensor, place: tuple[int, int], orders: tuple[int, int]) -> Tensor:
    """Return `part` within a kernel (components out, components in, M) of zeros."""
    (n, m), (inputs, outputs) = place, orders
    kernel = part.new_zeros(2 * outputs - 1, 2 * inputs - 1, part.shape[-1])
    rows, columns = _components(n, outputs), _components(m, inputs)
    share = math.sqrt(2) if n and not m else 1.0  # a real input fills both rows alone
    for row, values in zip(rows, part, strict=True):
        kernel[row, columns] = share * values
    return kernel


def _components(order: int, orders: int) -> list[int]:
    """Return where the real part, and beyond order 0 the imaginary part, lies."""
    return [order, order + orders - 1] if order else [0]
