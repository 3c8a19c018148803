"""Turning images by an angle that a network predicts (Jaderberg et al. 2015).

Only the rotation of a spatial transformer is left. The angle is a unit vector
(cos, sin), which has no wrap-around; as a complex number, it turns by multiplying.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Turn(nn.Module):
    """Turn images (N, C, S, S) by unit vectors (N, 2), counter-clockwise on the screen.

    Law: turning by u and then by v is turning by the product u*v, up to bilinear
    interpolation, and exact for quarter turns. Outside the image lies 0.
    """

    grid: Tensor  # (S * S, 2), x and y of each pixel's centre in [-1, 1]

    def __init__(self, side_px: int) -> None:
        super().__init__()
        along = (2 * torch.arange(side_px, dtype=torch.float64) + 1) / side_px - 1
        y, x = torch.meshgrid(along, along, indexing="ij")
        grid = torch.stack([x, y], dim=-1).flatten(0, 1).float()
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, images: Tensor, vector: Tensor) -> Tensor:
        # A pixel looks back for where it comes from; y points down here, and a position
        # is a row: each turns the matrix over, so both together change nothing.
        grid = (self.grid @ unturning(vector)).unflatten(1, images.shape[-2:])
        return F.grid_sample(images, grid.to(images.dtype), align_corners=False)


def unit(z: Tensor) -> Tensor:
    """Return the unit vectors of z (N, 2); a blank image's 0 gets one too."""
    z = z + z.new_tensor([1e-12, 0.0])
    return z / torch.linalg.vector_norm(z, dim=1, keepdim=True)


def conjugate(z: Tensor) -> Tensor:
    """Return the complex conjugate of z (..., 2), the vector of the opposite angle."""
    return z * z.new_tensor([1.0, -1.0])


def unturning(z: Tensor) -> Tensor:
    """Return the matrices (N, 2, 2) that multiply by the conjugate of z (N, 2).

    Where z is a unit vector they turn back by its angle.
    """
    basis = z.new_tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, -1.0, 0.0]])
    return (z @ basis).unflatten(1, (2, 2))
