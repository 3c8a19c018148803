"""Smaller maps, and numbers that a rotation of the image does not change."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellrot_train.intake import disc
from cellrot_train.layers.harmonic import Streams

TAPS = (1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0)  # the mean of 4 px of the mean of 5 px
BLUR = 1.0, 2.0, 1.0
FAINT = 1e-6  # a root has no slope at 0


class Halve(nn.Module):
    """Halve maps (N, C, S, S) of even S, without the detail that they cannot hold.

    Law: turning the input turns the output, streams too. The taps are even in number,
    so that every output lies at the centre of its window; a common stride-2 window
    does not, and loses even the quarter turns.
    """

    kernel: Tensor  # (C, 1, 8, 8)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", _smooth(TAPS, channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, stride=2, padding=3, groups=len(self.kernel))


class Blur(nn.Module):
    """Average maps (N, C, S, S) over each place and its neighbours.

    Law: turning the input turns the output.
    """

    kernel: Tensor  # (C, 1, 3, 3)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", _smooth(BLUR, channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1, groups=len(self.kernel))


def _smooth(taps: tuple[float, ...], channels: int) -> Tensor:
    """Return the mean over `taps` each way as a kernel (C, 1, T, T)."""
    along = torch.tensor(taps) / sum(taps)
    return (along[:, None] * along).expand(channels, 1, -1, -1).contiguous()


class Disc(nn.Module):
    """Set maps (N, C, S, S) to 0 outside the disc.

    Convolutions carry signal out of it, and in the corners of a square it would be
    kept or lost depending on the angle. Law: equivariant.
    """

    mask: Tensor

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.register_buffer("mask", disc(side_px), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class DiscMean(nn.Module):
    """Average maps (N, C, S, S) over the disc that stays in view, to (N, C)."""

    share: Tensor  # (S, S)

    def __init__(self, side_px: int) -> None:
        super().__init__()
        share = disc(side_px)
        self.register_buffer("share", share / share.sum(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # not a product with a vector, at which ONNX Runtime takes ten times as long
        return (x * self.share).sum(dim=(2, 3))


class Energy(nn.Module):
    """Sum of squares of maps (N, C, S, S), to (N, C).

    Law: the sum over the two parts of an order does not change. Not a mean: its
    gradient divides a whole map, which takes as long as all else here.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x * x).sum(dim=(2, 3))


class Invariants(nn.Module):
    """The root mean square of each field, from the energies (N, C) of `streams`.

    The mean is over the square of each map, of `sides_px`. Of maps that are 0 outside
    the disc, this is the mean over the disc but for a constant. Gives (N, sum of orders
    * fields), in the order of the streams. Law: turning the image changes nothing.
    """

    pairs: Tensor  # (sum of channels, sum of orders * fields)
    faint: Tensor

    def __init__(self, streams: Sequence[Streams], sides_px: Sequence[int]) -> None:
        super().__init__()
        both = zip(streams, sides_px, strict=True)
        pairs = torch.block_diag(*(_both_parts(each) / side**2 for each, side in both))
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("faint", torch.tensor(FAINT), persistent=False)

    def forward(self, energies: Tensor) -> Tensor:
        return torch.addmm(self.faint, energies, self.pairs).sqrt()


def _both_parts(streams: Streams) -> Tensor:
    """Return (channels, orders * fields): 1 where a channel is part of a field."""
    rest = torch.eye((streams.orders - 1) * streams.fields)
    return torch.block_diag(torch.eye(streams.fields), rest.repeat(2, 1))
