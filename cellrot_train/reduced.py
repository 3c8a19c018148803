"""The same network in a smaller file, with a readout that is fitted to what it gives.

Rounding moves every feature a little and always alike; to a classifier that reads small
differences of features, that is another cell. Fitted again, it reads on as before.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from cellrot_infer.types import PATCH_SIDE_PX
from cellrot_train.data import PatchSet
from cellrot_train.deploy import Labelled, Readout, calibrate, labelled_rows, spread_out
from cellrot_train.graph import constants_of, rewritten, values_of
from cellrot_train.half import halve
from cellrot_train.measured import full_size_parts
from cellrot_train.novelty import Novelty
from cellrot_train.pixels import decode_patches
from cellrot_train.quantise import quantise

Precision = Literal["float32", "fp16", "int8"]
SEEN = 200  # training cells that tell how far maps go
READ = 4000  # training cells that the readout is fitted to, at most
READOUT = ("head", "novelty")  # the modules that are fitted again
CENTRE = "centre"  # what is taken away from features before they are read
PENALTY = 1e-6  # of a weight, over the square of the size of its feature


class Join(NamedTuple):
    """Where the readout joins the network: the tensors it takes and gives."""

    features: str
    logits: str


def reduce(
    model: bytes, precision: Precision, patch_set: PatchSet, novelty: Novelty
) -> tuple[bytes, Readout]:
    """Return the exported `model` in another precision, and its new readout.

    `novelty` is that of the model.
    """
    train = spread_out(patch_set, labelled_rows(patch_set, "train"), READ)
    if precision == "int8":
        seen = spread_out(patch_set, train, SEEN)
        smaller = quantise(model, decode_patches(patch_set, seen, PATCH_SIDE_PX))
    else:
        smaller = halve(model, keep=(CENTRE, *(f"{part}." for part in READOUT)))
    before, logits = _read(model, patch_set, train)
    after, _ = _read(smaller, patch_set, train)
    val = labelled_rows(patch_set, "val")
    readout = calibrate(
        imitate(after, logits, centre_of(smaller)),
        shifted(novelty, (after - before).mean(dim=0)),
        Labelled(_read(smaller, patch_set, val)[0], _labels(patch_set, val)),
    )
    return with_readout(smaller, readout), readout


def shifted(novelty: Novelty, shift: Tensor) -> Novelty:
    """Return `novelty` for features that have moved by `shift` (F,)."""
    centres = novelty.centres + shift @ novelty.whitening
    return Novelty(novelty.whitening, centres)


def imitate(features: Tensor, logits: Tensor, centre: Tensor) -> nn.Linear:
    """Return the linear map of features (N, F) that comes closest to logits (N, K).

    Ridge regression. The penalty counts a weight by the size of its feature before
    `centre` (F,) was taken away, which is what rounding errors are in proportion to.
    """
    x, y = features.double(), logits.double()
    centred, size = x - x.mean(dim=0), (x + centre).square().mean(dim=0)
    size += 1e-6 * size.mean()
    gram = centred.T @ centred / len(x) + PENALTY * size.diag()
    weight = torch.linalg.solve(gram, centred.T @ (y - y.mean(dim=0)) / len(x)).T
    layer = nn.Linear(x.shape[1], y.shape[1])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(y.mean(dim=0) - weight @ x.mean(dim=0))
    return layer


def with_readout(model: bytes, readout: Readout) -> bytes:
    """Return `model` with the weights of `readout`."""
    proto = onnx.load_from_string(model)
    weights = {
        f"{part}.{name}": value.numpy()
        for part in READOUT
        for name, value in getattr(readout, part).state_dict().items()
    }
    return rewritten(proto, proto.graph.node, constants_of(proto) | weights)


def centre_of(model: bytes) -> Tensor:
    """Return what an exported model takes away from its features before it reads."""
    return torch.from_numpy(constants_of(onnx.load_from_string(model))[CENTRE].copy())


def join_of(model: bytes) -> Join:
    """Return where the readout of an exported model begins."""
    nodes = onnx.load_from_string(model).graph.node
    head = next(node for node in nodes if "head.bias" in node.input)
    return Join(head.input[0], head.output[0])


def _read(
    model: bytes, patch_set: PatchSet, rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return features (N, F) and logits (N, K) that `model` has for the cells."""
    parts = [
        part
        for patches in full_size_parts(patch_set, rows)
        for part in values_of(model, join_of(model), patches)
    ]
    features, logits = map(np.concatenate, zip(*parts, strict=True))
    return torch.from_numpy(features), torch.from_numpy(logits)


def _labels(patch_set: PatchSet, rows: Sequence[int]) -> Tensor:
    return torch.from_numpy(patch_set.labels[rows])
