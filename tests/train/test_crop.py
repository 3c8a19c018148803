"""Slices that follow each other become one where nothing else sees what is between."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cellrot_train.crop import crop_at_once
from cellrot_train.graph import open_session
from tests.train.graphs import model_of

PLACES = {"rows": (2, 6, 1), "columns": (1, 4, 2), "rows again": (1, 3, 1)}


def slices(*names: str, seen: bool = False) -> bytes:
    """Return a model that slices `x` so, one after the other; `seen`: all are given."""
    nodes, constants = [], []
    given = ["x", *(f"y{k}" for k, _ in enumerate(names))]
    for k, name in enumerate(names):
        parts = dict(zip(("from", "to", "axis"), PLACES[name], strict=True)) | {"by": 1}
        keys = [f"{part}{k}" for part in parts]
        constants += [
            numpy_helper.from_array(np.array([value]), key)
            for key, value in zip(keys, parts.values(), strict=True)
        ]
        nodes.append(helper.make_node("Slice", [given[k], *keys], [given[k + 1]]))
    kind = TensorProto.UINT8
    ends = given[1:] if seen else given[-1:]
    return model_of(
        nodes,
        [helper.make_tensor_value_info("x", kind, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info(end, kind, None) for end in ends],
        constants,
    )


@pytest.mark.parametrize(
    ("names", "seen", "left"),
    [
        (("rows", "columns"), False, 1),
        (("columns", "rows"), False, 1),
        (("rows", "columns"), True, 2),
        (("rows", "rows again"), False, 2),
        (("rows", "columns", "rows again"), False, 2),
        (("rows",), False, 1),
        ((), False, 0),
    ],
)
def test_a_crop_is_one_slice_and_gives_the_same(
    names: tuple[str, ...], seen: bool, left: int
) -> None:
    model = slices(*names, seen=seen)
    patches = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)

    cropped = crop_at_once(model)

    assert len(onnx.load_from_string(cropped).graph.node) == left
    if names:
        expected = open_session(model).run(None, {"x": patches})
        actual = open_session(cropped).run(None, {"x": patches})
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(one, other)
