"""Images drawn by formula at any angle, so that no resampling error is in them."""

import cmath
import math

import torch
from torch import Tensor

from cellrot_train.intake import disc

BLOBS = 12
SHARPEST = 0.03  # standard deviation of the smallest detail, as a share of the side
WIDEST = 0.15


def drawn_images(count: int, side_px: int, angle_rad: float, seed: int = 0) -> Tensor:
    """Return images (N, 3, S, S) of coloured blobs, turned by `angle_rad`.

    Positive angles turn counter-clockwise on the screen. The images fade at the rim of
    the disc and are 0 outside, like patches behind the intake; their variance is 1.
    """
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, BLOBS, *shape, generator=chance, dtype=torch.float64)

    centre = torch.polar(0.4 * draw().sqrt(), 2 * math.pi * draw())
    axis = torch.polar(torch.ones(1, dtype=torch.float64), math.pi * draw())
    widths = SHARPEST * (WIDEST / SHARPEST) ** draw(2)
    colours = 2 * draw(3) - 1

    along = (torch.arange(side_px, dtype=torch.float64) + 0.5) / side_px - 0.5
    place = torch.complex(along[None, :], -along[:, None])
    place = place * cmath.exp(-1j * angle_rad)
    offset = (place - centre[..., None, None]) * axis.conj()[..., None, None]
    parts = torch.stack([offset.real, offset.imag], dim=2) / widths[..., None, None]
    blobs = torch.exp(-parts.square().sum(dim=2) / 2)
    images = torch.einsum("nbc,nbyx->ncyx", colours, blobs) * disc(side_px)
    return (images / images.std()).float()
