"""Activations that commute with rotation: they act on magnitudes and keep phases."""

import torch
from torch import Tensor, nn

from cellrot_train.layers.harmonic import Streams

KNEE = 0.25  # |z|**2 from which on z passes nearly whole
CERTAIN = 20.0  # tanh of it is 1


class Rectify(nn.Module):
    """ReLU on order 0, whose values are real; z * tanh(|z|**2 / KNEE) on the others.

    The factor depends on the magnitude alone. It is smooth, because every kink would
    make angular frequencies that the grid cannot hold, and needs no square root. Law:
    turning the input as streams turns the output as streams.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self.streams = streams

    def forward(self, x: Tensor) -> Tensor:
        fields, orders = self.streams.fields, self.streams.orders
        if orders == 1:
            return torch.relu(x)
        rest = (orders - 1) * fields
        scalar, real, imaginary = x.split([fields, rest, rest], dim=1)
        passed = torch.tanh((real * real + imaginary * imaginary) * (1 / KNEE))
        return torch.cat([torch.relu(scalar), real * passed, imaginary * passed], dim=1)

    def folded(self) -> nn.Module:
        """Return the same with half the operators, for whole maps at once."""
        return nn.ReLU() if self.streams.orders == 1 else FoldedRectify(self.streams)


class FoldedRectify(nn.Module):
    """`Rectify` without taking the channels apart: a 1 x 1 convolution adds squares."""

    floor: Tensor  # (1, C, 1, 1): 0 for order 0, minus infinity for the others
    pairs: Tensor  # (C, C, 1, 1): 1 / KNEE from both parts of z to both parts
    bias: Tensor  # (C,): what passes order 0 whole

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        fields, rest = streams.fields, (streams.orders - 1) * streams.fields
        scalar = torch.zeros(streams.channels)
        scalar[:fields] = 1
        floor = torch.where(scalar > 0, 0.0, -torch.inf)
        pairs = torch.zeros(streams.channels, streams.channels)
        pairs[fields:, fields:] = torch.eye(rest).repeat(2, 2) / KNEE
        self.register_buffer("floor", floor[None, :, None, None], persistent=False)
        self.register_buffer("pairs", pairs[..., None, None], persistent=False)
        self.register_buffer("bias", CERTAIN * scalar, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.maximum(x, self.floor)
        return x * torch.tanh(nn.functional.conv2d(x * x, self.pairs, self.bias))
