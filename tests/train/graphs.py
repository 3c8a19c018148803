"""Small ONNX graphs as files hold them."""

from collections.abc import Sequence

from onnx import NodeProto, TensorProto, ValueInfoProto, helper


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto],
) -> bytes:
    """Return the model of one graph, of the operators that the project exports with."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
