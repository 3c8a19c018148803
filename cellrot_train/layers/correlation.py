"""The part of the convolutions that costs most, in the numbers that cost least."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Correlation(nn.Module):
    """Slides kernels over maps; what it multiplies in training may be narrower.

    Recent processors multiply bf16 far faster than float32, but gain little where maps
    are only passed on: those stay as they are, the products alone are narrow.
    """

    products: torch.dtype | None = None  # None: what torch, or its autocast, chooses
    stride: int
    padding: int

    def correlate(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """Return maps (N, C_out, H, W) from `x` (N, C_in, H', W')."""
        if self.products is None or not self.training:
            return F.conv2d(x, kernel, bias, self.stride, self.padding)
        kind = self.products
        maps, kernel, bias = x.to(kind), kernel.to(kind), bias.to(kind)
        return F.conv2d(maps, kernel, bias, self.stride, self.padding).to(x.dtype)


def multiply_in(products: torch.dtype, module: nn.Module) -> None:
    """Let all correlations in `module` multiply numbers of this type in training."""
    for part in module.modules():
        if isinstance(part, Correlation):
            part.products = products
