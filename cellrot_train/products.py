"""A filter that every channel of a map meets alike, as two matrix products.

One that is the same along rows and along columns filters the rows, then the columns. As
a convolution it has a kernel a channel, which leaves most of a processor idle where the
channels do not fill its registers: it took a quarter of `hnet-r0`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper

ROUNDING = 1e-6  # of the largest tap
DEARER = 3  # times as many multiplications as the convolution: they are cheaper
EXACT = 2**24  # up to here float32 adds whole numbers without rounding


class Products(NamedTuple):
    """Nodes that make `result` of `given`, both whole numbers; 1 stands for `unit`."""

    steps: list[NodeProto]
    given: str
    result: str
    unit: float


def whole_products(
    node: NodeProto,
    constants: dict[str, NDArray],
    sides_px: Mapping[str, int],
    largest: int,
) -> Products | None:
    """Return a convolution of whole numbers up to `largest` as products of such.

    They add up exactly, in any order. None where it is no such filter.
    """
    (source, name, *_), (result,) = node.input, node.output
    kernel = constants[name].astype(np.float64)
    unit = float(np.abs(kernel).min())
    numbers = np.rint(kernel / max(unit, ROUNDING))
    off = np.abs(numbers * unit - kernel).max() > ROUNDING * np.abs(kernel).max()
    if off or largest * np.abs(numbers).sum(axis=(1, 2, 3)).max() > EXACT:
        return None
    conv = NodeProto()
    conv.CopyFrom(node)
    conv.input[0], conv.output[0] = f"{source}/numbers", f"{result}/numbers"
    whole = numbers.astype(np.float32)
    steps = [*rows_first(conv, whole, sides_px.get(source), constants)]
    if len(steps) == 1:
        return None
    return Products(steps, conv.input[0], conv.output[0], unit)


def rows_first(
    node: NodeProto,
    kernel: NDArray,
    side_px: int | None,
    constants: dict[str, NDArray],
) -> Iterator[NodeProto]:
    """Yield what computes the same as `node`; new constants join `constants`.

    That is the convolution itself where it is not such a filter, where the map is not
    known to be a square of `side_px`, and where the products would be too many.
    """
    taps = shared_taps(kernel) if _meets_all_alike(node, kernel) else None
    if taps is None or side_px is None:
        yield node
        return
    how = _attributes(node)
    across = band(taps, side_px, how.get("strides", [1])[0], how.get("pads", [0])[0])
    small_px = len(across)
    if (side_px + small_px) * side_px > DEARER * small_px * len(taps) ** 2:
        yield node
        return
    name, rows = node.input[1], f"{node.output[0]}/rows"
    constants[f"{name}/across"] = across.astype(kernel.dtype)
    constants[f"{name}/along"] = np.ascontiguousarray(across.T, kernel.dtype)
    yield helper.make_node("MatMul", [node.input[0], f"{name}/along"], [rows])
    yield helper.make_node("MatMul", [f"{name}/across", rows], node.output)


def sides_px_of(graph: GraphProto) -> dict[str, int]:
    """Return the side of each map that is known to be square, by name."""
    found = {}
    for value in (*graph.input, *graph.value_info):
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        if len(sizes) == 4 and sizes[2] == sizes[3] > 0:
            found[value.name] = sizes[2]
    return found


def shared_taps(kernel: NDArray) -> NDArray | None:
    """Return the taps (T,) of which kernels (C, 1, T, T) are products with themselves.

    None where there are none, or where the channels have kernels of their own.
    """
    first = kernel[0, 0].astype(np.float64)
    if first.shape[0] != first.shape[1] or (kernel != kernel[:1]).any():
        return None
    total = first.sum()
    if total <= 0:
        return None
    taps: NDArray = first.sum(axis=1) / np.sqrt(total)
    off = np.abs(np.outer(taps, taps) - first).max()
    return taps if off < ROUNDING * np.abs(first).max() else None


def band(taps: NDArray, side_px: int, stride: int, padding: int) -> NDArray:
    """Return the matrix (S', S) that filters rows of S = `side_px` pixels."""
    wide_px = side_px + 2 * padding
    starts = range(0, wide_px - len(taps) + 1, stride)
    wide = np.zeros((len(starts), wide_px))
    for row, start in zip(wide, starts, strict=True):
        row[start : start + len(taps)] = taps
    return wide[:, padding : padding + side_px]


def _meets_all_alike(node: NodeProto, kernel: NDArray) -> bool:
    """Return whether channels are filtered each alone, and rows as columns are."""
    how = _attributes(node)
    each_alone = kernel.shape[1] == 1 and how.get("group") == [len(kernel)]
    as_columns = all(len({*how.get(name, ())}) < 2 for name in ("strides", "pads"))
    dense = {*how.get("dilations", ())} <= {1}
    told = all(each.s in (b"", b"NOTSET") for each in node.attribute)  # what is padded
    return each_alone and as_columns and dense and told and len(node.input) == 2


def _attributes(node: NodeProto) -> dict[str, list[int]]:
    return {each.name: [*each.ints] or [each.i] for each in node.attribute}
