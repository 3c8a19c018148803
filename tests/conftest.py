"""A model for the tests: real operators, no training, made in a moment."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cellrot_infer.card import ModelCard, Thresholds, seal

CLASS_NAMES = ("lymphocyte", "neutrophil", "platelet")


def tiny_card(**changes: object) -> ModelCard:
    """Return a card that fits `tiny_onnx`."""
    values: dict[str, Any] = {
        "name": "tiny",
        "encoder": "mean-colour",
        "class_names": CLASS_NAMES,
        "pixel_size_um": 0.1,
        "thresholds": Thresholds(set_probability=0.3, coverage=0.95, novelty=1e6),
        "metrics": {},
        "certificate": {},
        "data": {},
        "licence": "CC0",
        "versions": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return ModelCard(**(values | changes))


def tiny_onnx(
    *,
    input_name: str = "patches",
    classes: int = len(CLASS_NAMES),
    spoil: float = 1.0,
    drop: str = "",
) -> bytes:
    """Return an ONNX file that classifies patches by their mean colour.

    `spoil` multiplies the embedding (NaN makes every output NaN); `drop` leaves an
    output out.
    """
    weights = np.random.default_rng(0).normal(0, 5, (3, classes)).astype(np.float32)
    constants = {
        "weights": weights,
        "scale": np.float32(spoil / 255),
        "rows_columns": np.array([1, 2], np.int64),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", [input_name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "rows_columns"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["embeddings"]),
        helper.make_node("MatMul", ["embeddings", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["embeddings", "last"], ["novelty"], keepdims=0),
    ]
    shapes: dict[str, list[str | int | None]] = {
        "probabilities": ["N", classes],
        "embeddings": ["N", 3],
        "novelty": ["N"],
    }
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
        if name != drop
    ]
    patches = helper.make_tensor_value_info(
        input_name, TensorProto.UINT8, ["N", 256, 256, 3]
    )
    initializers = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "tiny", [patches], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_model(
    folder: Path, onnx_bytes: bytes | None = None, card: ModelCard | None = None
) -> Path:
    """Write a sealed model into `folder` and return its path."""
    sealed, _ = seal(onnx_bytes or tiny_onnx(), card or tiny_card())
    path = folder / "tiny.onnx"
    path.write_bytes(sealed)
    return path


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """Return the path of a sealed tiny model."""
    return write_model(tmp_path)
