"""Activations that commute with rotation: they act on magnitudes and keep phases."""

import torch
from torch import Tensor, nn

from cellrot_train.layers.harmonic import Streams

KNEE = 0.25  # |z|**2 at which half of z passes


def shrink(z: Tensor) -> Tensor:
    """Return z * |z|**2 / (|z|**2 + KNEE), z (N, M, 2, F, H, W).

    The factor depends on the magnitude alone. It is smooth, because every kink would
    make angular frequencies that the grid cannot hold, and needs no square root.
    """
    power = z.square().sum(dim=2, keepdim=True)
    return z * (power / (power + KNEE))


class Rectify(nn.Module):
    """ReLU on order 0, whose values are real; `shrink` on the other orders.

    Law: turning the input as streams turns the output as streams.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self.streams = streams

    def forward(self, x: Tensor) -> Tensor:
        if self.streams.orders == 1:
            return torch.relu(x)
        fields = self.streams.fields
        scalars, others = x[:, :fields], x[:, fields:]
        z = others.unflatten(1, (self.streams.orders - 1, 2, fields))
        return torch.cat([torch.relu(scalars), shrink(z).flatten(1, 3)], dim=1)
