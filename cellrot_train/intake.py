"""From camera bytes to what an encoder sees; the same in training and in the export."""

import torch
from torch import Tensor, nn

DISC_EDGE_PX = 1.5  # the mask falls softly: a hard edge would alias when it turns


def disc(side_px: int) -> Tensor:
    """Return the soft circular mask (side, side), 1 inside and 0 in the corners.

    A square field of view would show the angle of the camera in its corners.
    """
    along = torch.arange(side_px, dtype=torch.float64) - (side_px - 1) / 2
    radius = torch.hypot(along[:, None], along)
    return ((side_px / 2 - radius) / DISC_EDGE_PX).clamp(0, 1).float()


class Intake(nn.Module):
    """Scale bytes (N, 3, S, S) in [0, 255] to [-1, 1] and darken outside the disc.

    0 is the mean grey of the scale, so that what is masked carries no signal. Turning
    the image turns the result.
    """

    mask: Tensor

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.register_buffer("mask", disc(side_px), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        return (patches.float() / 127.5 - 1) * self.mask
