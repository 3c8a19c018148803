"""Whether this processor can be trusted with sums of eight-bit products.

Without VNNI two products are added in 16 bits, which overflow: what integers add up to
then depends on their order, and promises about eight bits cannot be tested here.
"""

from functools import cache

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cellrot_train.graph import open_session
from tests.train.graphs import model_of

SUMMED = 64


@cache
def overflows() -> bool:
    """Return whether the largest levels times the largest weights add up wrongly."""
    weights = numpy_helper.from_array(np.full((SUMMED, 1), 127, np.int8), "weights")
    levels = helper.make_tensor_value_info("levels", TensorProto.UINT8, [1, SUMMED])
    total = helper.make_tensor_value_info("total", TensorProto.INT32, [1, 1])
    node = helper.make_node("MatMulInteger", ["levels", "weights"], ["total"])
    session = open_session(model_of([node], [levels], [total], [weights]))
    (found,) = session.run(None, {"levels": np.full((1, SUMMED), 255, np.uint8)})
    return int(found.item()) != SUMMED * 255 * 127


needs_exact_sums = pytest.mark.skipif(
    overflows(), reason="eight-bit products overflow on processors without VNNI"
)
