"""Convolutions in two steps give what they gave in one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cellrot_infer.certificate import turn
from cellrot_infer.types import Floats, Patches
from cellrot_train.export import to_onnx
from cellrot_train.graph import constants_of, open_session
from cellrot_train.half import halve
from cellrot_train.layers.basis import circular_harmonics
from cellrot_train.products import whole_products
from cellrot_train.separate import factors, separate
from tests.train.graphs import model_of
from tests.train.untrained import network

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def plain() -> bytes:
    return to_onnx(network("hnet-r0"))


@pytest.fixture(scope="module")
def patches() -> Patches:
    chance = np.random.default_rng(0)
    small = chance.integers(0, 256, (3, 32, 32, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def rings(count: int, outputs: int, inputs: int, seed: int) -> Floats:
    """Return kernels (O, C, 5, 5) that are mixtures of `count` rings."""
    widths_px = (0.3, 0.6, 0.9, 1.2)[:count]
    basis = circular_harmonics(0, 5, widths_px)[:, 0].numpy()
    weight = np.random.default_rng(seed).standard_normal((outputs, inputs, count))
    return np.einsum("ocm,mhw->ochw", weight, basis).astype(np.float32)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), seeds)
def test_filters_and_their_mixture_make_the_kernels_again(
    count: int, outputs: int, inputs: int, seed: int
) -> None:
    kernel = rings(count, outputs, inputs, seed)

    filters, mixture = factors(kernel)

    parts = mixture.reshape(outputs, len(filters), inputs)
    again = np.einsum("omc,mhw->ochw", parts, filters[:, 0])
    assert len(filters) == min(count, outputs * inputs)
    assert again == pytest.approx(kernel, abs=2e-6 * float(np.abs(kernel).max()))


@given(seeds)
@settings(max_examples=10)
def test_taps_that_turn_into_each_other_stay_equal_to_the_last_bit(seed: int) -> None:
    filters, _ = factors(rings(4, 20, 20, seed))

    for turned in (np.rot90(filters, k, axes=(2, 3)) for k in range(1, 4)):
        assert (turned == filters).all()


def test_the_file_computes_the_same_as_before(plain: bytes, patches: Patches) -> None:
    separated = separate(plain)

    before = open_session(plain).run(None, {"patches": patches})
    after = open_session(separated).run(None, {"patches": patches})

    for actual, expected in zip(after, before, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("after", [separate, lambda model: halve(separate(model))])
def test_a_quarter_turn_still_changes_rounding_alone(
    after: Callable[[bytes], bytes], plain: bytes, patches: Patches
) -> None:
    session = open_session(after(plain))

    upright = session.run(["embeddings"], {"patches": patches})[0]
    turned = session.run(["embeddings"], {"patches": turn(patches, 90)})[0]

    assert np.abs(turned - upright).max() < 1e-5 * np.abs(upright).max()


def test_it_is_less_work_in_a_smaller_file(plain: bytes) -> None:
    separated = separate(plain)

    assert products(separated) < products(plain) / 2.5
    assert len(separated) < 0.7 * len(plain)
    assert len(onnx.load_from_string(separated).graph.node) <= 76


def products(model: bytes) -> int:
    """Return how many products the convolutions take for one pixel."""
    proto = onnx.load_from_string(model)
    constants = constants_of(proto)
    kernels = (constants[n.input[1]] for n in proto.graph.node if n.op_type == "Conv")
    return sum(kernel.size for kernel in kernels)


def one_convolution(
    kernel: Floats, attributes: dict[str, Any], sizes: list[int] | None = None
) -> bytes:
    """Return a model of one convolution of `kernel`, for maps of `sizes` if known."""
    shape: list[int | str] | None = ["N", *sizes] if sizes else None
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    return model_of([node], [source], [result], [numpy_helper.from_array(kernel, "w")])


@pytest.mark.parametrize(
    "attributes",
    [{}, {"pads": [2] * 4}, {"strides": [2, 2]}, {"dilations": [2, 2]}],
)
def test_steps_borders_and_a_missing_bias_stay(attributes: dict[str, Any]) -> None:
    model = one_convolution(rings(2, 40, 20, 0), attributes)
    maps = np.random.default_rng(0).standard_normal((2, 20, 17, 17), np.float32)

    separated = separate(model)

    expected = open_session(model).run(None, {"x": maps})[0]
    actual = open_session(separated).run(None, {"x": maps})[0]
    assert len(onnx.load_from_string(separated).graph.node) == 3
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        (rings(1, 40, 20, 0), {"group": 2}),
        (rings(1, 40, 4, 0), {}),
        (rings(1, 40, 20, 0)[:, :, 2:3, 2:3].copy(), {}),
    ],
)
def test_groups_few_channels_and_single_pixels_stay_as_they_are(
    kernel: Floats, attributes: dict[str, Any]
) -> None:
    model = one_convolution(kernel, attributes)

    assert separate(model) == model


@pytest.mark.parametrize("encoder", ["baseline", "stn"])
def test_kernels_of_many_shapes_stay_as_they_are(encoder: str) -> None:
    model = to_onnx(network(encoder))

    assert separate(model) == model


def shared(taps: Floats, channels: int) -> Floats:
    """Return the filter of `taps` along rows and columns, a kernel a channel."""
    kernel = np.outer(taps, taps).astype(np.float32)
    return np.broadcast_to(kernel, (channels, 1, *kernel.shape)).copy()


@settings(max_examples=25, deadline=None)
@given(
    side_px=st.integers(6, 30),
    count=st.integers(2, 6),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    seed=seeds,
)
def test_a_filter_that_all_channels_share_is_two_products(
    side_px: int, count: int, stride: int, padding: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    kernel = shared(chance.uniform(0.1, 1, count).astype(np.float32), 3)
    how = {"group": 3, "strides": [stride] * 2, "pads": [padding] * 4}
    model = one_convolution(kernel, how, [3, side_px, side_px])
    maps = chance.standard_normal((2, 3, side_px, side_px), np.float32)
    small_px = (side_px + 2 * padding - count) // stride + 1
    multiplications = small_px * side_px * (side_px + small_px)

    separated = separate(model)

    nodes = [node.op_type for node in onnx.load_from_string(separated).graph.node]
    few = multiplications <= 3 * small_px**2 * count**2
    assert nodes == (["MatMul"] * 2 if few else ["Conv"])
    expected = open_session(model).run(None, {"x": maps})[0]
    actual = open_session(separated).run(None, {"x": maps})[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


TAPS = np.array([1.0, 2, 3, 4, 4, 3, 2, 1], np.float32)
EVERY_SECOND = {"group": 4, "strides": [2, 2], "pads": [3] * 4}


@pytest.mark.parametrize(
    ("kernel", "changed", "sizes"),
    [
        (shared(TAPS, 4) * np.arange(1, 5, dtype="f4")[:, None, None, None], {}, [16]),
        (shared(TAPS, 4) + np.eye(8, dtype="f4"), {}, [16]),
        (shared(TAPS, 4) - 3.0, {}, [16]),
        (shared(TAPS, 4)[:, :, :4].copy(), {}, [16]),
        (shared(TAPS, 4), {"strides": [2, 1]}, [16]),
        (shared(TAPS, 4), {"pads": [3, 2, 3, 2]}, [16]),
        (shared(TAPS, 4), {"dilations": [2, 2]}, [16]),
        (shared(TAPS, 4), {"auto_pad": "SAME_UPPER"}, [16]),
        (shared(TAPS, 4), {}, [16, 18]),
        (shared(TAPS, 4), {}, []),
    ],
    ids=[
        "a kernel a channel", "slanted", "of both signs", "not square",
        "other steps along rows", "other borders along rows", "with gaps",
        "borders that are not told",
        "a map that is not square", "a map of unknown size",
    ],
)  # fmt: skip
def test_other_filters_a_channel_stay_as_they_are(
    kernel: Floats, changed: dict[str, Any], sizes: list[int]
) -> None:
    known = [4, sizes[0], sizes[-1]] if sizes else None
    model = one_convolution(kernel.astype("f4"), {**EVERY_SECOND, **changed}, known)
    usual = one_convolution(shared(TAPS, 4), EVERY_SECOND, [4, 16, 16])

    assert separate(model) == model
    assert separate(usual) != usual


@pytest.mark.parametrize(
    ("taps", "largest", "exact"),
    [
        ([1, 2, 2, 1], 255, True),
        ([1, 2.05, 2.05, 1], 255, False),
        ([1, 2, 2, 1], 2**19, 0),
    ],
    ids=["whole numbers", "fractions", "numbers too large"],
)
def test_products_are_of_whole_numbers_where_they_add_up_exactly(
    taps: list[float], largest: int, exact: bool
) -> None:
    kernel = shared(np.array(taps, np.float32), 4)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4)
    constants = {"w": kernel / np.float32(36)}

    found = whole_products(node, constants, {"x": 8}, largest)

    assert (found is not None) == exact
    if found is not None:
        across = constants["w/across"]
        assert found.unit == pytest.approx(1 / 36)
        assert np.array_equal(across, np.rint(across))
        assert across.max() == 2


def test_hnet_r2_halves_its_map_by_products(patches: Patches) -> None:
    model = to_onnx(network("hnet-r2"))
    separated = separate(model)

    before = open_session(model).run(None, {"patches": patches})
    session = open_session(separated)
    after = session.run(None, {"patches": patches})
    turned = session.run(["embeddings"], {"patches": turn(patches, 90)})[0]

    assert len(onnx.load_from_string(separated).graph.node) <= 120
    assert "encoder.trunk.steps.1.halve.kernel/along" in constants_of(
        onnx.load_from_string(separated)
    )
    for actual, expected in zip(after[:3], before[:3], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(turned - after[1]).max() < 1e-5 * np.abs(after[1]).max()
