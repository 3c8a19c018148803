"""Ordinary networks that speeds are compared with."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Add to the input what a body makes of it, then ReLU."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip = body, skip or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the shape that the body gives."""
        return torch.relu(self.skip(x) + self.body(x))


def plain_cnn(channels: Sequence[int], classes: int = 11) -> nn.Module:
    """Return a CNN with the sizes of a harmonic net: 8 x 8 stem, 5 x 5 convolutions.

    The map is halved by the stem and by one 2 x 2 mean, as there.
    """
    stem, *rest = channels
    layers: list[nn.Module] = [nn.Conv2d(3, stem, 8, 2, 3), nn.ReLU(), nn.AvgPool2d(2)]
    before = stem
    for count in rest:
        conv = nn.Conv2d(before, count, 5, padding=2)
        layers += [Residual(conv)] if count == before else [conv, nn.ReLU()]
        before = count
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers, *pooled, nn.Softmax(dim=1))


def resnet18(classes: int = 11) -> nn.Module:
    """Return ResNet-18 (He et al. 2016, arXiv:1512.03385), batch norms folded."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    for inputs, outputs in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers.append(_block(inputs, outputs))
        layers.append(_block(outputs, outputs))
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    return nn.Sequential(*layers, *pooled, nn.Softmax(dim=1))


def _block(inputs: int, outputs: int) -> Residual:
    stride = 1 if inputs == outputs else 2
    first = nn.Conv2d(inputs, outputs, 3, stride, 1)
    body = nn.Sequential(first, nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
    skip = None if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)
    return Residual(body, skip)
