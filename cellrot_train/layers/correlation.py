"""The part of the convolutions that costs most, in the numbers that cost least."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Correlation(nn.Module):
    """Slides kernels over maps; what it multiplies in training may be narrower.

    Recent processors multiply bf16 eight times as fast as float32, but move it no
    faster than they convert it: maps stay as they are, only the products are narrow.
    """

    products: torch.dtype | None = None  # None: that of the maps
    stride: int
    padding: int

    def correlate(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """Return maps (N, C_out, H, W) of the type of `x`, (N, C_in, H', W')."""
        kind = self.products if self.training and self.products else x.dtype
        maps, kernel, bias = x.to(kind), kernel.to(kind), bias.to(kind)
        return F.conv2d(maps, kernel, bias, self.stride, self.padding).to(x.dtype)


def multiply_in(products: torch.dtype, module: nn.Module) -> None:
    """Let all correlations in `module` multiply numbers of this type in training."""
    for part in module.modules():
        if isinstance(part, Correlation):
            part.products = products
