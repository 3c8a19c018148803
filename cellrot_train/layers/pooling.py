"""Invariants of feature maps: numbers that a rotation of the image does not change."""

import torch
from torch import Tensor, nn

from cellrot_train.intake import disc
from cellrot_train.layers.harmonic import Streams


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
