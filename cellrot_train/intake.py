"""From camera bytes to what an encoder sees; the same in training and in the export.

A stain adds where light is absorbed: in optical density, not in intensity. There, the
exposure and the white point of a camera are a constant, and the strength of a stain is
a factor. Taking each patch's own mean away and dividing by its own spread removes both
before any weight is learned. One spread serves all three channels, so that the colours
of a cell keep their proportions.
"""

import math

import torch
from torch import Tensor, nn

DISC_EDGE_PX = 1.5  # the mask falls softly: a hard edge would alias when it turns
DARK_LEVEL = 8.0  # of 255, added to every byte: noise in black is no density
LEAST_SPREAD = 0.02  # in optical density; keeps the noise of empty glass small


def disc(side_px: int) -> Tensor:
    """Return the soft circular mask (side, side), 1 inside and 0 in the corners.

    A square field of view would show the angle of the camera in its corners.
    """
    along = torch.arange(side_px, dtype=torch.float64) - (side_px - 1) / 2
    radius = torch.hypot(along[:, None], along)
    return ((side_px / 2 - radius) / DISC_EDGE_PX).clamp(0, 1).float()


def centre(images: Tensor, side_px: int) -> Tensor:
    """Return the central `side_px` pixels of images (N, C, P, P)."""
    margin = (images.shape[-1] - side_px) // 2
    inner = slice(margin, margin + side_px)
    return images[..., inner, inner]


class Intake(nn.Module):
    """Bytes (N, 3, P, P) in [0, 255] to optical density of mean 0 and variance 1.

    The result (N, 3, S, S) is of the central S = `side_px` pixels. Mean and variance
    are taken over the disc, outside of which the result is 0, the mean. Turning the
    patch turns the result.
    """

    mask: Tensor

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px = side_px
        self.register_buffer("mask", disc(side_px), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        density = _density(centre(patches, self.side_px))
        mean, spread = self._statistics(density)
        return (density - mean) * self.mask / spread

    def restore(self, images: Tensor, patches: Tensor) -> Tensor:
        """Return `images` as levels in [0, 255], in the colours of `patches`.

        The inverse of `forward` inside the disc; outside it shows the mean colour.
        """
        mean, spread = self._statistics(_density(centre(patches, self.side_px)))
        levels = (255 + DARK_LEVEL) * torch.exp(-(images * spread + mean)) - DARK_LEVEL
        return levels.clamp(0, 255)

    def _statistics(self, density: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each channel and the spread common to all of them.

        Summed in float64: in float32 the order of the pixels shows, and so the angle.
        """
        density, mask = density.double(), self.mask.double()
        share = mask / mask.sum()
        mean = (density * share).sum((2, 3), keepdim=True)
        third = share / 3
        variance = ((density - mean).square() * third).sum((1, 2, 3), keepdim=True)
        return mean.float(), (variance + LEAST_SPREAD**2).sqrt().float()


def _density(patches: Tensor) -> Tensor:
    return math.log(255 + DARK_LEVEL) - torch.log(patches.float() + DARK_LEVEL)
