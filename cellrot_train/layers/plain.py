"""The ordinary convolution with the same normalisation as the harmonic ones."""

import math

import torch
from torch import Tensor, nn

from cellrot_train.layers.correlation import Correlation


class ScaledConv2d(Correlation):
    """Convolve with weights of unit energy for each output channel, times a gain.

    The output of white noise has the variance of the input times gain**2, for any
    weights and without statistics of the batch (scaled weight standardisation, Brock
    et al. 2021, arXiv:2101.08692, without its centring).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, (size - stride) // 2
        weight = torch.randn(outputs, inputs, size, size)
        self.weight = nn.Parameter(weight / math.sqrt(weight[0].numel()))
        self.gain = nn.Parameter(torch.full((outputs,), gain))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kernel(self) -> Tensor:
        """Return the kernel (C_out, C_in, size, size)."""
        energy = self.weight.square().sum(dim=(1, 2, 3))
        scale = self.gain * torch.rsqrt(energy + 1e-12)
        return self.weight * scale[:, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.correlate(x, self.kernel(), self.bias)

    def folded(self) -> nn.Module:
        """Return the convolution with constant weights that computes the same."""
        outputs, inputs, size, _ = self.weight.shape
        conv = nn.Conv2d(inputs, outputs, size, self.stride, self.padding)
        conv.weight = nn.Parameter(self.kernel().detach(), requires_grad=False)
        conv.bias = nn.Parameter(self.bias.detach(), requires_grad=False)
        return conv
