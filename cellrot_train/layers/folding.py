"""From convolutions that assemble their kernel to ordinary ones, for deployment."""

import copy
from typing import TypeVar

import torch
from torch import nn

from cellrot_train.layers.activation import Rectify
from cellrot_train.layers.harmonic import HarmonicConv2d, HarmonicRead
from cellrot_train.layers.plain import ScaledConv2d

AnyModule = TypeVar("AnyModule", bound=nn.Module)
FOLDING = (HarmonicConv2d, HarmonicRead, ScaledConv2d, Rectify)


def folded(module: AnyModule) -> AnyModule:
    """Return a copy of `module` that computes the same with plain convolutions.

    Its kernels are constants; it is for inference and export, not for training. They
    are made in float64: parts of a kernel that turn into each other are equal then, to
    the last bit of float32, and so when they are rounded to eight bits.
    """
    kinds = {parameter.dtype for parameter in module.parameters()} or {torch.float32}
    twin = copy.deepcopy(module).double()
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, FOLDING):
                setattr(parent, name, child.folded())
    return twin.to(kinds.pop()).eval()
