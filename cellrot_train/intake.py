"""From camera bytes to what an encoder sees; the same in training and in the export.

A stain adds where light is absorbed: in optical density, not in intensity. There, the
exposure and the white point of a camera are a constant, and the strength of a stain is
a factor. Taking each patch's own mean away and dividing by its own spread removes both
before any weight is learned. One spread serves all three channels, so that the colours
of a cell keep their proportions.
"""

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
        centred, _, spread = self._statistics(patches)
        return centred.float() * self.mask / spread

    def restore(self, images: Tensor, patches: Tensor) -> Tensor:
        """Return `images` as levels in [0, 255], in the colours of `patches`.

        The inverse of `forward` inside the disc; outside it shows the mean colour.
        """
        _, mean, spread = self._statistics(patches)
        return (torch.exp(mean - images * spread) - DARK_LEVEL).clamp(0, 255)

    def _statistics(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the optical density beyond its mean, and what it was relative to.

        That is the mean of each channel's log light, and the spread common to all.
        Summed in float64: in float32 the order of the pixels shows, and so the angle.
        """
        light = torch.log(centre(patches, self.side_px).float() + DARK_LEVEL).double()
        share = self.mask.double() / self.mask.double().sum()
        mean = (light * share).sum((2, 3), keepdim=True)
        centred, third = mean - light, share / 3
        variance = (centred.square() * third).sum((1, 2, 3), keepdim=True)
        return centred, mean.float(), (variance + LEAST_SPREAD**2).sqrt().float()
