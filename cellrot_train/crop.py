"""The crop of a patch at once: torch writes two, of its rows and of its columns."""

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from cellrot_train.graph import constants_of, rewritten

PARTS = ("starts", "ends", "axes", "steps")
AXES = 3  # their place among the inputs of a slice


def crop_at_once(model: bytes) -> bytes:
    """Return `model` with slices that follow each other in one, which copies once."""
    proto = onnx.load_from_string(model)
    constants = constants_of(proto)
    uses = Counter(name for node in proto.graph.node for name in node.input)
    uses.update(output.name for output in proto.graph.output)
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        before = nodes[-1] if nodes else node
        alone = uses[before.output[0]] == 1
        if alone and _crops_further(node, before, constants):
            node = _both(nodes.pop(), node, constants)
        nodes.append(node)
    return rewritten(proto, nodes, constants)


def _crops_further(
    node: NodeProto, before: NodeProto, constants: dict[str, NDArray]
) -> bool:
    """Return whether `node` slices what `before` gives, along other axes."""
    if not node.op_type == before.op_type == "Slice":
        return False
    axes, known = ({*constants[each.input[AXES]].tolist()} for each in (node, before))
    return node.input[0] == before.output[0] and axes.isdisjoint(known)


def _both(
    first: NodeProto, second: NodeProto, constants: dict[str, NDArray]
) -> NodeProto:
    """Return what does both; its new constants join `constants`."""
    names = [f"{second.output[0]}/{part}" for part in PARTS]
    for name, *parts in zip(names, first.input[1:], second.input[1:], strict=True):
        constants[name] = np.concatenate([constants[part] for part in parts])
    return helper.make_node("Slice", [first.input[0], *names], second.output)
