"""A network made of escnn (Weiler and Cesa 2019), and its ordinary twin.

escnn is a reference here and no dependency. Beside a current numpy it installs as
`pip install --no-deps escnn joblib pymanopt autograd`.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType
from typing import Any

from torch import Tensor, nn

EMBEDDING_SIZE = 64
DOWN = 2  # convolutions that a pooling follows; the others are residual


class Staged(nn.Module):
    """Images (N, 3, S, S) to (N, 64): convolutions with poolings, then residual ones.

    `wrap` makes of the images what the layers take.
    """

    def __init__(
        self,
        wrap: Callable[[Tensor], Any],
        convs: Sequence[nn.Module],
        pools: Sequence[nn.Module],
        read: nn.Module,
    ) -> None:
        super().__init__()
        self.wrap, self.read = wrap, read
        self.downs = nn.Sequential(*map(nn.Sequential, convs[:DOWN], pools))
        self.blocks = nn.ModuleList(convs[DOWN:])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, 64)."""
        x = self.downs(self.wrap(images))
        for block in self.blocks:
            x = x + block(x)
        features: Tensor = self.read(x)
        return features


class MeanOfInvariants(nn.Module):
    """Average what escnn's layers give, over the map: (N, C)."""

    def forward(self, x: Any) -> Tensor:  # noqa: ANN401
        """Return the means."""
        means: Tensor = x.tensor.mean(dim=(2, 3))
        return means


def has_escnn() -> bool:
    """Return whether escnn is installed."""
    return find_spec("escnn") is not None


def escnn_net(orders: int, fields: Sequence[int]) -> nn.Module:
    """Return the net with `fields` of each order in each of its convolutions."""
    gspaces, layers = _escnn()
    space = gspaces.rot2dOnR2(maximum_frequency=2)
    irreps = [space.irrep(order) for order in range(orders)]
    types = [layers.FieldType(space, 3 * [space.trivial_repr])]
    for count in fields:
        types.append(
            layers.FieldType(space, [each for each in irreps for _ in range(count)])
        )
    activation = layers.ReLU if orders == 1 else layers.NormNonLinearity
    convs = [
        nn.Sequential(layers.R2Conv(before, after, 5, padding=2), activation(after))
        for before, after in pairwise(types)
    ]
    pools = [layers.PointwiseAvgPool2D(each, 2) for each in types[1 : 1 + DOWN]]
    norms = nn.Identity() if orders == 1 else layers.NormPool(types[-1])
    linear = nn.Linear(orders * fields[-1], EMBEDDING_SIZE)
    read = nn.Sequential(norms, MeanOfInvariants(), linear)
    return Staged(
        lambda images: layers.GeometricTensor(images, types[0]), convs, pools, read
    )


def ordinary_net(channels: Sequence[int]) -> nn.Module:
    """Return the same net of ordinary layers."""
    convs = [
        nn.Sequential(nn.Conv2d(before, after, 5, padding=2), nn.ReLU())
        for before, after in pairwise([3, *channels])
    ]
    read = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], EMBEDDING_SIZE)
    )
    return Staged(lambda images: images, convs, [nn.AvgPool2d(2)] * DOWN, read)


def _escnn() -> tuple[Any, Any]:
    """Return the groups' spaces and the layers of escnn.

    Rotations in space, which images never meet, come from a package that does not
    build beside a current numpy: an empty one takes its place.
    """
    name = "lie_learn.representations.SO3.wigner_d"
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), ModuleType(parts[end - 1]))
    for function in ("wigner_d_matrix", "wigner_D_matrix"):
        setattr(sys.modules[name], function, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses another optional package
        from escnn import gspaces
        from escnn import nn as layers
    return gspaces, layers
