"""Twins of an encoder in which only the layers differ."""

import copy
from collections.abc import Callable

from torch import Tensor, nn

from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.layers.activation import Rectify
from cellrot_train.layers.harmonic import HarmonicConv2d, HarmonicRead
from cellrot_train.layers.pooling import Disc, Energy, Halve, Invariants

Replace = dict[type[nn.Module], Callable[..., nn.Module]]


class Features(nn.Module):
    """What an encoder gives a classifier; its last columns are the embedding."""

    def __init__(self, encoder: AutoEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, F) of images (N, 3, S, S)."""
        return self.encoder.encode(images).features


class Mean(nn.Module):
    """Average maps (N, C, S, S) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.mean(dim=(2, 3))


def ordinary(net: nn.Module) -> nn.Module:
    """Return the plain CNN of the same channels and poolings."""
    return replaced(
        net,
        {
            HarmonicConv2d: _ordinary_conv,
            HarmonicRead: _ordinary_read,
            Rectify: lambda _: nn.ReLU(),
        },
    )


def bare(net: nn.Module) -> nn.Module:
    """Return the plain CNN of the same channels without masks, simply pooled."""
    return replaced(
        ordinary(net),
        {
            Halve: lambda _: nn.AvgPool2d(2),
            Disc: lambda _: nn.Identity(),
            Energy: lambda _: Mean(),
            Invariants: lambda _: nn.Identity(),
        },
    )


def conjugated(net: nn.Module) -> nn.Module:
    """Return the same network with the conjugate maps, at random weights."""
    return replaced(net, {HarmonicConv2d: _conjugate_conv})


def replaced(net: nn.Module, by: Replace) -> nn.Module:
    """Return a copy of `net` with another layer for each of some types."""
    twin = copy.deepcopy(net)
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if type(child) in by:
                setattr(parent, name, by[type(child)](child))
    return twin


def _ordinary_conv(conv: HarmonicConv2d) -> nn.Module:
    sizes = conv.inputs.channels, conv.outputs.channels, conv.size
    return nn.Conv2d(*sizes, conv.stride, conv.padding)


def _ordinary_read(read: HarmonicRead) -> nn.Module:
    return nn.Sequential(Mean(), nn.LazyLinear(read.outputs.channels))


def _conjugate_conv(conv: HarmonicConv2d) -> nn.Module:
    if conv.inputs.orders == 1:  # a real input is its own conjugate
        return conv
    twin = HarmonicConv2d(
        conv.inputs, conv.outputs, conv.size, conv.stride, conjugate=True
    )
    twin.mixture.gain.data.copy_(conv.mixture.gain)
    return twin
