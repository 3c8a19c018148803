"""Convolutions in two steps: the same sum in another order, for less work.

A kernel that knows nothing of rotation has a shape of its own for each pair of
channels. Those of order 0 are mixtures of a few rings: every channel meets the rings
first, a kernel for each, and a map of single pixels mixes what they give. What all
channels meet alike, such as the filter that halves a map, is two matrix products.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from cellrot_train.graph import constants_of, rewritten
from cellrot_train.products import rows_first, sides_px_of

LEAST_PART = 1e-6  # of the largest filter: what is less is the rounding of float32
WORTH = 3  # times fewer products: they are dearer, each needs more of the memory
LEAST_CHANNELS = 16  # below, one filter a channel leaves a processor idle


def separate(model: bytes) -> bytes:
    """Return `model` with such convolutions in two steps, where that is less work."""
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    constants, sides_px = constants_of(proto), sides_px_of(proto.graph)
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        kernel = constants.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None:
            nodes.append(node)
        elif _is_dense(node, kernel):
            nodes += _mixed(node, kernel, constants)
        else:
            side_px = sides_px.get(node.input[0])
            nodes += rows_first(node, kernel, side_px, constants)
    separated = len(nodes) > len(proto.graph.node)
    return rewritten(proto, nodes, constants) if separated else model


def _mixed(
    node: NodeProto, kernel: NDArray, constants: dict[str, NDArray]
) -> Iterator[NodeProto]:
    """Yield what computes the same as `node`; new constants join `constants`."""
    filters, mixture = factors(kernel)
    outputs, inputs, *size = kernel.shape
    count, area = len(filters), size[0] * size[1]
    if WORTH * count * (area + outputs) > area * outputs:
        yield node
        return
    source, name, *bias = node.input
    constants[f"{name}/filters"] = np.repeat(filters, inputs, axis=0)
    constants[f"{name}/mixture"] = mixture
    copies, parts = f"{node.output[0]}/copies", f"{node.output[0]}/parts"
    yield helper.make_node("Concat", [source] * count, [copies], axis=1)
    first = helper.make_node("Conv", [copies, f"{name}/filters"], [parts])
    first.attribute.extend(a for a in node.attribute if a.name != "group")
    first.attribute.append(helper.make_attribute("group", count * inputs))
    yield first
    yield helper.make_node("Conv", [parts, f"{name}/mixture", *bias], node.output)


def _is_dense(node: NodeProto, kernel: NDArray) -> bool:
    """Return whether every output of a convolution over pixels sees enough inputs."""
    groups = [entry.i for entry in node.attribute if entry.name == "group"]
    enough = kernel.shape[1] >= LEAST_CHANNELS
    return enough and kernel[0, 0].size > 1 and groups in ([], [1])


def factors(kernel: NDArray) -> tuple[NDArray, NDArray]:
    """Return filters (M, 1, h, w) and mixture (O, M * C, 1, 1) of `kernel`.

    `kernel` (O, C, h, w). Channel m * C + c of what the mixture takes is input c after
    filter m. Taps that are equal in all kernels are so in all filters, to the last bit.
    """
    outputs, inputs, *size = kernel.shape
    flat = kernel.reshape(outputs * inputs, -1).astype(np.float64)
    taps, place = np.unique(flat, axis=1, return_inverse=True)
    left, parts, right = np.linalg.svd(taps, full_matrices=False)
    count = max(1, int((parts > LEAST_PART * parts[0]).sum()))
    filters = right[:count, place.ravel()].reshape(count, 1, *size)
    mixture = (left[:, :count] * parts[:count]).reshape(outputs, inputs, count)
    planar = mixture.transpose(0, 2, 1).reshape(outputs, count * inputs, 1, 1)
    return filters.astype(kernel.dtype), np.ascontiguousarray(planar, kernel.dtype)
