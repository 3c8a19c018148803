"""Filters that are alike all around, met once by each channel, as matrix products.

A filter of order 0 is a mixture of a few rings. Averaging every map over each ring and
then mixing the averages gives the same sums as convolving with the mixtures, of which
every pair of channels has its own, with less than half of the products.
"""

import torch
from torch import Tensor


def ring_sums(maps: Tensor, rings: Tensor) -> Tensor:
    """Correlate maps (N, C, H, W) with each of `rings`, to (N, C * T, H, W).

    `rings` (T, R, R) are the quadrant of each filter from its centre on: what lies so
    many rows and columns away, on either side, counts alike. Outside of a map is 0.
    """
    count, reach, _ = rings.shape
    fields, height, width = maps.shape[1:]
    across, down = (_apart(reach, side).to(rings) for side in (width, height))
    folded = maps.reshape(-1, width) @ across.movedim(0, 1).flatten(1)
    folded = folded.view(-1, height, reach, width).transpose(1, 2).flatten(1, 2)
    mixed = torch.einsum("tab,ayz->tybz", rings, down).reshape(count * height, -1)
    return (mixed @ folded).view(len(maps), fields * count, height, width)


def _apart(reach: int, side: int) -> Tensor:
    """Return (reach, side, side): 1 where two places are so far from each other."""
    place = torch.arange(side)
    gap = (place[:, None] - place).abs()
    return gap == torch.arange(reach)[:, None, None]
