"""Turning images by an angle that a network predicts (Jaderberg et al. 2015).

Only the rotation of a spatial transformer is left. The angle is a unit vector
(cos, sin), which has no wrap-around.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Turn(nn.Module):
    """Turn images (N, C, S, S) by unit vectors (N, 2), counter-clockwise on the screen.

    Law: turning by u and then by v is turning by the complex product u*v, up to
    bilinear interpolation; exact for quarter turns. Outside the image lies 0.
    """

    grid: Tensor  # (S * S, 2), x and y in [-1, 1]

    def __init__(self, side_px: int) -> None:
        super().__init__()
        along = (2 * torch.arange(side_px, dtype=torch.float64) + 1) / side_px - 1
        y, x = torch.meshgrid(along, along, indexing="ij")
        grid = torch.stack([x, y], dim=-1).flatten(0, 1).float()
        self.register_buffer("grid", grid, persistent=False)
        self.side_px = side_px

    def forward(self, images: Tensor, vector: Tensor) -> Tensor:
        cos, sin = vector[:, 0], vector[:, 1]
        # y points down here: a pixel looks back by -angle for where it comes from
        back = torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)
        grid = (self.grid @ back).reshape(-1, self.side_px, self.side_px, 2)
        return F.grid_sample(images, grid.to(images.dtype), align_corners=False)


def conjugate(vector: Tensor) -> Tensor:
    """Return the vector (N, 2) of the opposite angle."""
    return vector * vector.new_tensor([1.0, -1.0])


def product(u: Tensor, v: Tensor) -> Tensor:
    """Return the complex product of (..., 2) and (..., 2), re and im last."""
    (a, b), (c, d) = u.unbind(-1), v.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], dim=-1)
