"""Eight-bit convolutions in a finished graph: smaller, faster, as invariant as before.

Convolutions over pixels are nearly all of the work, so they alone are quantised; what
stands between them stays float32. Integers add up to the same sum in any order: where
the kernels of a net turn with the image, its eight-bit twin turns with it bit for bit.
A filter that all channels meet alike is faster as products of float32, which add up
integers as exactly while they are small.

What a convolution takes has one scale, what it gives has one for each channel, like the
kernels that make it: a quiet channel must not drown in the steps of a loud one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import NodeProto, helper

from cellrot_infer.certificate import QUARTER_TURNS, turn
from cellrot_infer.types import Floats, Patches
from cellrot_train.graph import constants_of, rewritten, values_of
from cellrot_train.products import Products, sides_px_of, whole_products

LEVELS, HALF = 255, 127  # of a map; where signs turn, as many levels for -x as for x
ALIKE = 1e-3  # relative difference of least and most of a channel whose sign turns
ROOM = 1.1  # over the largest value of nearly all patches
NEARLY_ALL = 0.97  # rare cells may be cut: their values would cost all others detail
LEAST_SIZE = 2.0**-20  # of a channel that is always 0
STEPS = 4  # of sizes to a factor of 2: rounding must not tell re from im


@dataclass(frozen=True, slots=True)
class Levels:
    """How a map (N, C, H, W) is rounded: divided by `size` (C,) to multiples of `step`.

    The level `zero` of 0..255 stands for 0. Where turning the image turns signs, no
    value goes below `floor`: there are 128 levels below 0 and 127 above, and a value
    that is too large must be cut alike on both sides.
    """

    size: Floats
    step: float
    zero: int
    floor: float | None = None


def quantise(model: bytes, patches: Patches) -> bytes:
    """Return `model` with eight-bit convolutions, for the values that `patches` give.

    The patches should be of training cells; they are seen in all quarter turns.
    """
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    nodes, constants = list(proto.graph.node), constants_of(proto)
    sides_px = sides_px_of(proto.graph)
    over_pixels = [node for node in nodes if _over_pixels(node, constants)]
    ends = {node.output[0]: _end(node, nodes) for node in over_pixels}
    whole = {
        node.output[0]: products
        for node in over_pixels
        if node.input[0] not in ends.values()
        and (products := whole_products(node, constants, sides_px, LEVELS))
    }
    ends = {name: end for name, end in ends.items() if name not in whole}
    starts = {node.input[0] for node in over_pixels}
    levels = find_levels(model, starts, set(ends.values()), patches)
    draft = Draft(levels, constants)
    for node in nodes:
        if products := whole.get(node.output[0]):
            draft.multiply(node, products)
            continue
        if node.op_type == "Conv" and node.output[0] not in ends:
            draft.pair(node)
        draft.add(node, ends.get(node.output[0]))
        if node.output[0] in ends.values():
            draft.restore(node.output[0])
    return rewritten(proto, draft.nodes, draft.constants)


def find_levels(
    model: bytes, starts: Collection[str], ends: Collection[str], patches: Patches
) -> dict[str, Levels]:
    """Return the levels of what convolutions take (`starts`) and give (`ends`)."""
    names = sorted({*starts, *ends})
    turned = [turn(patches, 90 * turns) for turns in (0, *QUARTER_TURNS)]
    least: dict[str, list[Floats]] = {name: [] for name in names}
    most: dict[str, list[Floats]] = {name: [] for name in names}
    for values in values_of(model, names, np.concatenate(turned)):
        for name, value in zip(names, values, strict=True):
            least[name].append(value.min(axis=(2, 3)))
            most[name].append(value.max(axis=(2, 3)))
    return {
        name: _levels(
            -_nearly_all(-np.concatenate(least[name])),
            _nearly_all(np.concatenate(most[name])),
            alike=name not in ends,
        )
        for name in names
    }


def _nearly_all(most: Floats) -> Floats:
    """Return what the channels (N, C) of nearly all patches do not exceed, (C,)."""
    return np.quantile(most, NEARLY_ALL, axis=0).clip(min=0).astype(np.float32)


@dataclass
class Draft:
    """A graph in the making: its nodes in order, and the constants of both graphs."""

    levels: Mapping[str, Levels]
    constants: dict[str, NDArray]
    nodes: list[NodeProto] = field(default_factory=list)
    rounded: dict[str, str] = field(default_factory=dict)  # maps over their size
    restored: dict[str, str] = field(default_factory=dict)  # times their size again

    def add(self, node: NodeProto, end: str | None) -> None:
        """Append `node`, in eight bits where its result is to be rounded at `end`."""
        source = node.input[0]
        node.input[:] = [self.restored.get(name, name) for name in node.input]
        if end:
            if source not in self.rounded:
                even = self._cut(node.input[0], source)
                self.rounded[source] = self._rounded(even, source)
            weights = self._weights(node, self.levels[source], self.levels[end].size)
            node.input[:] = [self.rounded[source], *weights]
        self.nodes.append(node)

    def multiply(self, node: NodeProto, products: Products) -> None:
        """Append what computes the same as `node`, whose map is rounded, exactly."""
        source, (result,) = node.input[0], node.output
        even = self._cut(self.restored.get(source, source), source)
        levels = [self._to_levels(even, source), self._keep("one", 1, "f4")]
        step = products.unit * self.levels[source].step
        self.nodes += [
            helper.make_node(
                "DequantizeLinear", [*levels, f"{source}/zero"], [products.given]
            ),
            *products.steps,
            helper.make_node(
                "Mul",
                [products.result, self._keep(f"{result}/step", step, "f4")],
                [result],
            ),
        ]

    def pair(self, node: NodeProto) -> None:
        """Let the map `node` of single pixels add first what it weighs alike.

        Two squares have one sum, whichever comes first; of many, rounding tells, and
        with it the angle: a level more or less in the convolutions that follow.
        """
        name = node.input[1]
        kernel = self.constants[name]
        alike, place = np.unique(kernel, axis=1, return_inverse=True)
        if kernel.shape[2:] != (1, 1) or alike.shape[1] == kernel.shape[1]:
            return
        sums = np.eye(alike.shape[1])[:, place.ravel()][..., None, None]
        add = self._keep(f"{name}/sums", sums, "f4")
        source = self.restored.get(node.input[0], node.input[0])
        self.constants[f"{name}/alike"] = np.ascontiguousarray(alike)
        node.input[:2] = [self._node("Conv", source, add), f"{name}/alike"]

    def restore(self, name: str) -> None:
        """Round what a convolution gives and multiply it by its size."""
        size = self._keep(f"{name}/size", self.levels[name].size[:, None, None], "f4")
        self.rounded[name] = self._rounded(name, name)
        even = self._cut(self.rounded[name], name)
        self.restored[name] = self._node("Mul", even, size)

    def _cut(self, value: str, name: str) -> str:
        floor = self.levels[name].floor
        if floor is None:
            return value
        return self._node("Max", value, self._keep(f"{name}/floor", floor, "f4"))

    def _rounded(self, value: str, name: str) -> str:
        levels = self._to_levels(value, name)
        return self._node("DequantizeLinear", levels, f"{name}/step", f"{name}/zero")

    def _to_levels(self, value: str, name: str) -> str:
        step = self._keep(f"{name}/step", self.levels[name].step, "f4")
        zero = self._keep(f"{name}/zero", self.levels[name].zero, "u1")
        return self._node("QuantizeLinear", value, step, zero)

    def _weights(self, node: NodeProto, given: Levels, size: Floats) -> Iterator[str]:
        """Yield kernel and bias of `node`, as integers and what they stand for."""
        kernel = self.constants[node.input[1]] / size[:, None, None, None]
        each_alone = kernel.shape[1] == 1  # a channel is made of one channel
        kernel *= given.size.reshape((-1, 1, 1, 1) if each_alone else (-1, 1, 1))
        step = np.abs(kernel).max(axis=(1, 2, 3)).clip(min=LEAST_SIZE) / HALF
        yield self._integers(f"{node.output[0]}/kernel", kernel, step, "i1")
        for bias in node.input[2:]:
            name, value = f"{node.output[0]}/bias", self.constants[bias] / size
            yield self._integers(name, value, step * given.step, "i4")

    def _integers(
        self, name: str, values: NDArray, step: NDArray, kind: DTypeLike
    ) -> str:
        """Round `values` (C, ...) to multiples of `step` (C,)."""
        whole = np.rint(values / step.reshape(-1, *[1] * (values.ndim - 1)))
        integers = self._keep(name, whole, kind)
        return self._node(
            "DequantizeLinear", integers, self._keep(f"{name}/step", step, "f4"), axis=0
        )

    def _keep(self, name: str, value: object, kind: DTypeLike) -> str:
        self.constants[name] = np.asarray(value, kind)
        return name

    def _node(self, operator: str, *inputs: str, axis: int | None = None) -> str:
        name = f"{inputs[0]}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, [name], axis=axis))
        return name


def _over_pixels(node: NodeProto, constants: Mapping[str, NDArray]) -> bool:
    return node.op_type == "Conv" and constants[node.input[1]].shape[-1] > 1


def _end(node: NodeProto, nodes: Iterable[NodeProto]) -> str:
    """Return where the result of a convolution is rounded: after its ReLU, if any."""
    users = [user for user in nodes if node.output[0] in user.input]
    follows = len(users) == 1 and users[0].op_type == "Relu"
    return users[0].output[0] if follows else node.output[0]


def _levels(least: Floats, most: Floats, *, alike: bool) -> Levels:
    """Return the levels for channels (C,) between `least` and `most`.

    `alike` gives all channels the same size, which the step can be in charge of.
    """
    size = np.ones_like(most)
    if not alike:
        reach = np.maximum(-least, most).clip(min=LEAST_SIZE)
        size = np.exp2(np.ceil(np.log2(reach) * STEPS) / STEPS)
    low, high = float((-least / size).max()) * ROOM, float((most / size).max()) * ROOM
    if (np.abs(least + most) < ALIKE * most).any():
        step = max(low, high) / HALF
        return Levels(size, step, HALF + 1, -HALF * step)
    step = max(low + high, LEAST_SIZE) / LEVELS
    return Levels(size, step, round(low / step))
