"""Weights in half precision: half the file, the same arithmetic."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from cellrot_train.graph import constants_of, rewritten

LEAST_VALUES = 256  # a smaller constant is not worth an operator


def halve(model: bytes, keep: tuple[str, ...] = ()) -> bytes:
    """Return `model` with its larger constants in float16, but for those in `keep`.

    `keep` holds how their names begin. Halves are widened when the file is loaded, and
    all sums stay float32: three digits are too few for a quarter turn to be exact.
    """
    proto = onnx.load_from_string(model)
    constants = constants_of(proto)
    large = {
        name: value
        for name, value in constants.items()
        if _is_large(value) and not name.startswith(keep)
    }
    halves = {f"{name}/half": value.astype("f2") for name, value in large.items()}
    others = {name: constants[name] for name in constants.keys() - large.keys()}
    nodes = [*map(_widened, sorted(large)), *proto.graph.node]
    return rewritten(proto, nodes, others | halves)


def _is_large(value: NDArray) -> bool:
    return value.dtype == np.float32 and value.size >= LEAST_VALUES


def _widened(name: str) -> NodeProto:
    return helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT)
