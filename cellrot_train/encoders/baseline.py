"""The ResNet-like encoder that knows nothing of rotation."""

import torch
from torch import Tensor, nn

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.decoder import Decoder
from cellrot_train.layers.plain import ScaledConv2d
from cellrot_train.layers.pooling import DiscMean
from cellrot_train.layers.sizes import halvings

SMALLEST_MAP_PX = 4
GAIN = 1.4  # keeps the energy through a ReLU, which halves it


class Stage(nn.Module):
    """Halve the map, then one residual convolution."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        self.down = ScaledConv2d(inputs, outputs, 4, stride=2, gain=GAIN)
        self.conv = ScaledConv2d(outputs, outputs, 3) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.down(x))
        return x if self.conv is None else torch.relu(x + self.conv(x))


class Trunk(nn.Module):
    """Images (N, 3, S, S) to the smallest map, and the means of all maps."""

    def __init__(self, channels: list[int], side_px: int) -> None:
        super().__init__()
        pairs = zip([3, *channels], channels, strict=False)
        self.stages = nn.ModuleList(
            Stage(inputs, outputs, residual=index > 0)
            for index, (inputs, outputs) in enumerate(pairs)
        )
        self.means = nn.ModuleList(
            DiscMean(side_px >> (index + 1)) for index in range(len(channels))
        )
        self.feature_size = sum(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = []
        for stage, mean in zip(self.stages, self.means, strict=True):
            x = stage(x)
            features.append(mean(x))
        return x, torch.cat(features, dim=1)


class BaselineEncoder(AutoEncoder):
    """Auto-encoder of ordinary convolutions; the code is linear in the last map."""

    def __init__(self, channels: list[int], side_px: int, embedding_size: int) -> None:
        super().__init__()
        self.trunk = Trunk(channels, side_px)
        last = side_px >> len(channels)
        self.read = nn.Linear(channels[-1] * last**2, embedding_size)
        self.decoder = Decoder(embedding_size, side_px)
        self.embedding_size = embedding_size
        self.feature_size = self.trunk.feature_size + embedding_size

    def encode(self, images: Tensor) -> Encoding:
        last, pooled = self.trunk(images)
        code = self.read(last.flatten(1))
        return Encoding(code, torch.cat([pooled, code], dim=1))

    def decode(self, encoding: Encoding) -> Tensor:
        return self.decoder(encoding.embedding)


def channels_of(width: int, side_px: int) -> list[int]:
    """Return the channels of each stage, for `width` channels at half the size."""
    steps = halvings(side_px, SMALLEST_MAP_PX)
    extra = [width] * (steps - 4)
    return [*extra, width, 2 * width, 2 * width, width]


def baseline(width: int, side_px: int, embedding_size: int) -> BaselineEncoder:
    """Return the baseline with `width` channels at half the size."""
    return BaselineEncoder(channels_of(width, side_px), side_px, embedding_size)
