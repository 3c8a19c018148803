"""Eight bits: nearly the same answers, and the same at every quarter turn."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cellrot_infer.certificate import turn
from cellrot_infer.types import Floats, Patches
from cellrot_train.data import load_patch_set
from cellrot_train.deployed import Deployed
from cellrot_train.encoders import build_encoder
from cellrot_train.export import to_onnx
from cellrot_train.graph import constants_of, values_of
from cellrot_train.half import halve
from cellrot_train.layers.activation import Rectify
from cellrot_train.novelty import Novelty
from cellrot_train.pixels import decode_patches
from cellrot_train.quantise import quantise
from tests.train.eight_bits import needs_exact_sums

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
Graphs = tuple[str, bytes, bytes]  # an encoder, its graph, the same in eight bits
HARMONIC = ("hnet-r0", "hnet-r2")


@pytest.fixture(scope="module")
def patches() -> Patches:
    return decode_patches(load_patch_set(SAMPLES), range(0, 374, 12), 256)


@pytest.fixture(scope="module", params=[*HARMONIC, "baseline"])
def graphs(
    request: pytest.FixtureRequest, patches: Patches
) -> tuple[str, bytes, bytes]:
    """Return graphs of random weights; of the patches only the first were seen."""
    torch.manual_seed(0)
    body = build_encoder(request.param, side_px=48, width=8)
    for part in body.modules():
        if isinstance(part, Rectify) and part.streams.orders > 1:
            part.weight.data += 0.1 * torch.randn_like(part.weight)  # as it learns
    size = body.feature_size
    novelty = Novelty(torch.eye(size), torch.zeros(2, size))
    head = torch.nn.Linear(size, 11)
    net = Deployed(body, head, novelty, torch.zeros(size), (64, 48)).eval()
    graph = to_onnx(net)
    return request.param, graph, quantise(graph, patches[:8])


def embeddings(graph: bytes, patches: Patches) -> Floats:
    found = [part[0] for part in values_of(graph, ["embeddings"], patches)]
    return np.concatenate(found)


def turned_maps(
    graph: bytes, name: str, patches: Patches, quarters: int
) -> tuple[Floats, Floats]:
    """Return the map `name` of turned patches, and that of patches, turned itself."""
    turned, upright = (
        np.concatenate([part[0] for part in values_of(graph, [name], cells)])
        for cells in (turn(patches, 90 * quarters), patches)
    )
    assert upright.std() > 0.01
    return turned, np.rot90(upright, quarters, axes=(2, 3))


def distance(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@needs_exact_sums
def test_eight_bits_say_nearly_the_same(graphs: Graphs, patches: Patches) -> None:
    _, whole, small = graphs

    expected, actual = (embeddings(graph, patches) for graph in (whole, small))

    assert 1e-4 < distance(actual, expected) < 0.15


@needs_exact_sums
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_changes_nothing_in_eight_bits(
    graphs: Graphs, patches: Patches, quarters: int
) -> None:
    encoder, _, small = graphs
    upright = embeddings(small, patches)

    change = np.abs(embeddings(small, turn(patches, 90 * quarters)) - upright).max()

    if encoder in HARMONIC:
        assert change < 1e-5 * np.abs(upright).max()
    else:  # the check can tell
        assert change > 1e-2 * np.abs(upright).max()


@needs_exact_sums
def test_gates_turn_with_the_image_to_the_last_bit(
    graphs: Graphs, patches: Patches
) -> None:
    encoder, _, small = graphs
    if encoder != "hnet-r2":
        pytest.skip("it has no gates")
    nodes = onnx.load_from_string(small).graph.node
    first = next(node.output[0] for node in nodes if node.op_type == "Tanh")

    actual, expected = turned_maps(small, first, patches, 1)

    assert np.array_equal(actual, expected)


@needs_exact_sums
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_map_is_halved_exactly(
    graphs: Graphs, patches: Patches, quarters: int
) -> None:
    encoder, _, small = graphs
    if encoder not in HARMONIC:
        pytest.skip("it halves its maps by convolutions of their own")
    nodes = onnx.load_from_string(small).graph.node
    (halved,) = (
        node.output[0]
        for node in nodes
        if node.op_type == "Mul" and node.input[0].endswith("/numbers")
    )

    actual, expected = turned_maps(small, halved, patches, quarters)

    scalars = np.s_[:, :8]  # other orders turn among themselves, too
    assert np.array_equal(actual[scalars], expected[scalars])


def test_convolutions_over_pixels_alone_are_in_eight_bits(
    graphs: Graphs,
) -> None:
    constants = constants_of(onnx.load_from_string(graphs[2]))
    kernels = [value for value in constants.values() if value.ndim == 4]

    assert {value.dtype for value in kernels if value.shape[-1] > 1} == {np.dtype("i1")}
    assert constants["head.weight"].dtype == np.float32


def test_half_precision_halves_the_weights_and_changes_little(
    graphs: Graphs, patches: Patches
) -> None:
    _, whole, _ = graphs

    smaller = halve(whole)

    constants = constants_of(onnx.load_from_string(whole)).values()
    weights = sum(each.nbytes for each in constants if each.dtype == np.float32)
    assert len(smaller) < len(whole) - 0.4 * weights
    assert distance(embeddings(smaller, patches), embeddings(whole, patches)) < 0.01
