"""Spatial transformer: turn upright, auto-encode as the baseline does, turn back."""

import torch
from torch import Tensor

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.baseline import BaselineEncoder, channels_of
from cellrot_train.encoders.hnet import Trunk, fields_of
from cellrot_train.layers.harmonic import HarmonicRead, Streams
from cellrot_train.layers.rotation import Turn, conjugate, unit

LOCALISER_WIDTH = 4


class Localiser(torch.nn.Module):
    """Predict the angle of images as a unit vector (N, 2).

    Its filters are harmonics and its output is one field of order 1, so the vector
    turns with the image from the first step on. What it points at is learned.
    """

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.trunk = Trunk(2, fields_of(LOCALISER_WIDTH, side_px), 1, side_px)
        self.read = HarmonicRead(self.trunk.outputs, Streams(2, 1), self.trunk.side_px)

    def forward(self, images: Tensor) -> Tensor:
        return unit(self.read(self.trunk(images)[0])[:, 1:])


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
