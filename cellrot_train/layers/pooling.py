"""Smaller maps, and numbers that a rotation of the image does not change."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellrot_train.intake import disc
from cellrot_train.layers.harmonic import Streams

TAPS = (1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0)  # the mean of 4 px of the mean of 5 px


class Halve(nn.Module):
    """Halve maps (N, C, S, S) of even S, without the detail that they cannot hold.

    Law: turning the input turns the output, streams too. The taps are even in number,
    so that every output lies at the centre of its window; a common stride-2 window
    does not, and loses even the quarter turns.
    """

    kernel: Tensor  # (C, 1, 8, 8)

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        kernel = (taps[:, None] * taps).expand(channels, 1, -1, -1).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, stride=2, padding=3, groups=len(self.kernel))


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

    share: Tensor  # (S * S,)

    def __init__(self, side_px: int) -> None:
        super().__init__()
        share = disc(side_px).flatten()
        self.register_buffer("share", share / share.sum(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2) @ self.share


class Invariants(nn.Module):
    """Average order 0 and the magnitudes of the other orders over the disc.

    Maps (N, C, S, S) to (N, orders * fields). Law: turning the input as streams changes
    nothing.
    """

    def __init__(self, streams: Streams, side_px: int) -> None:
        super().__init__()
        self.streams, self.mean = streams, DiscMean(side_px)

    def forward(self, x: Tensor) -> Tensor:
        fields, orders = self.streams.fields, self.streams.orders
        if orders == 1:
            return self.mean(x)
        z = x[:, fields:].unflatten(1, (orders - 1, 2, fields))
        magnitudes = z.square().sum(dim=2).add(1e-6).sqrt().flatten(1, 2)
        return self.mean(torch.cat([x[:, :fields], magnitudes], dim=1))
