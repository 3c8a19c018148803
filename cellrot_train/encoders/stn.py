"""Spatial transformer: turn upright, auto-encode as the baseline does, turn back."""

import torch
from torch import Tensor, nn

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.baseline import BaselineEncoder, channels_of
from cellrot_train.intake import disc
from cellrot_train.layers.rotation import Turn, conjugate, unit

RINGS = 12


class Localiser(nn.Module):
    """Predict the angle of images as a unit vector (N, 2).

    Each ring of each colour has a centre of gravity, which turns with the image. The
    angle is that of a weighted sum of them. At first that is the first moment of the
    optical density: it points from the middle of the patch to where the cell is dark.
    Learned weights, two for a vector's length and turn, keep the law.
    """

    rings: Tensor  # (S * S, RINGS): what each pixel is of each ring
    towards: Tensor  # (S * S, 2): unit vector from the centre, y up

    def __init__(self, side_px: int) -> None:
        super().__init__()
        along = (2 * torch.arange(side_px, dtype=torch.float64) + 1) / side_px - 1
        up, right = torch.meshgrid(-along, along, indexing="ij")
        place = torch.stack([right, up], dim=-1).flatten(0, 1)
        radius = place.norm(dim=1, keepdim=True)
        middle = (torch.arange(RINGS, dtype=torch.float64) + 0.5) / RINGS
        near = (1 - (radius - middle).abs() * RINGS).clamp(min=0)  # straight lines add
        inside = disc(side_px).double().flatten()[:, None]
        self.register_buffer("rings", (near * inside).float(), persistent=False)
        self.register_buffer("towards", (place / radius).float(), persistent=False)
        weight = torch.zeros(RINGS, 3, 2)
        weight[:, :, 0] = middle[:, None]
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        length, turn = (
            (self.rings @ self.weight.flatten(1)).unflatten(1, (3, 2)).unbind(2)
        )
        x, y = (part[:, None] for part in self.towards.unbind(1))
        filters = torch.stack([length * x - turn * y, length * y + turn * x])
        return unit(images.flatten(1) @ filters.mT.flatten(1).T)


class TransformerEncoder(AutoEncoder):
    """Auto-encoder of the image turned upright; the angle is no part of the code."""

    def __init__(self, inner: BaselineEncoder, side_px: int) -> None:
        super().__init__()
        self.localiser, self.turn = Localiser(side_px), Turn(side_px)
        self.inner = inner
        self.embedding_size = inner.embedding_size
        self.feature_size = inner.feature_size

    def encode(self, images: Tensor) -> Encoding:
        angle = self.localiser(images)
        upright = self.inner.encode(self.turn(images, conjugate(angle)))
        return Encoding(upright.embedding, upright.features, angle)

    def decode(self, encoding: Encoding) -> Tensor:
        assert encoding.orientation is not None
        return self.turn(self.inner.decode(encoding), encoding.orientation)


def stn(width: int, side_px: int, embedding_size: int) -> TransformerEncoder:
    """Return the transformer around a baseline of `width` channels at half size."""
    inner = BaselineEncoder(channels_of(width, side_px), side_px, embedding_size)
    return TransformerEncoder(inner, side_px)
