"""Look into an ONNX graph and change its constants."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cellrot_infer.types import Floats, Patches

BATCH = 16  # larger batches leave the processor's cache


def open_session(model: bytes) -> ort.InferenceSession:
    """Return a session of `model` on the CPU, the device that every user has."""
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def constants_of(model: ModelProto) -> dict[str, NDArray]:
    """Return the constants of the graph by name."""
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def values_of(
    model: bytes, names: Sequence[str], patches: Patches
) -> Iterator[list[Floats]]:
    """Yield the tensors `names` that the graph computes on its way, a batch a time."""
    proto = onnx.load_from_string(model)
    given = {output.name for output in proto.graph.output}
    for name in dict.fromkeys(names):
        if name not in given:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            proto.graph.output.append(value)
    session = open_session(proto.SerializeToString())
    for start in range(0, len(patches), BATCH):
        batch = patches[start : start + BATCH]
        yield session.run(list(names), {"patches": batch})


def rewritten(
    model: ModelProto, nodes: Iterable[NodeProto], constants: Mapping[str, NDArray]
) -> bytes:
    """Return `model` with other nodes and constants; unused ones are dropped."""
    graph = model.graph
    kept, used = list(nodes), {output.name for output in graph.output}
    used.update(name for node in kept for name in node.input)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
        if name in used
    )
    del graph.value_info[:]  # of tensors that may be others now
    return model.SerializeToString()
