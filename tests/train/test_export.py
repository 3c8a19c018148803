"""The exported file computes what torch computes, with plain operators, or is not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cellrot_infer.card import ModelCard, read_model
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import DataError
from cellrot_infer.golden import golden_error
from cellrot_infer.types import Floats, Patches
from cellrot_train import export as exporting
from cellrot_train import half, promises
from cellrot_train.config import MODELS, Config
from cellrot_train.data import load_patch_set
from cellrot_train.deploy import labelled_rows
from cellrot_train.deployed import Deployed
from cellrot_train.export import Terms, export, to_onnx
from cellrot_train.fit import fit
from cellrot_train.graph import open_session
from cellrot_train.measured import GOLDEN_CELLS
from cellrot_train.pixels import load_patches
from cellrot_train.promises import (
    ExportError,
    check_certificate,
    check_cost,
    check_parity,
)
from cellrot_train.reduced import Precision
from cellrot_train.run import TrainedRun, load_run
from tests.train.eight_bits import needs_exact_sums
from tests.train.untrained import network

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
ORDINARY = {
    "Abs", "Add", "And", "Atan", "Atan2", "AveragePool", "Cast", "Clip", "Concat",
    "Constant", "Conv", "Cos", "Div", "Equal", "Expand", "Gather", "Gemm", "Greater",
    "GridSample", "Identity", "IsNaN", "Less", "Log", "MatMul", "Max", "Min", "Mul",
    "Neg", "Not", "Or", "Pad", "Pow", "Reciprocal", "ReduceL2", "ReduceMean",
    "ReduceMin", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Sign", "Sin",
    "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose",
    "Unsqueeze", "Where",
}  # fmt: skip


@pytest.fixture(scope="module")
def patches() -> Patches:
    patch_set = load_patch_set(SAMPLES)
    images = load_patches(patch_set.subset(range(0, 374, 9)), "all", 256)
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def says(net: Deployed) -> Callable[[Patches], Floats]:
    return partial(exporting._torch_says, net)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Train shortly; after one epoch features are so alike that rounding shows."""
    folder = tmp_path_factory.mktemp("Läufe")
    config = Config(
        model="hnet-r0", data=str(SAMPLES), side_px=32, width=4, epochs=4, device="cpu"
    )
    return load_run(fit(config, root=folder, name="t").folder)


@pytest.fixture(scope="module")
def exported(
    run: TrainedRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ModelCard]:
    folder = tmp_path_factory.mktemp("Modelle")
    model, card = export(run, load_patch_set(SAMPLES), Terms("t", "CC BY 4.0", "PBC"))
    (folder / "t.onnx").write_bytes(model)
    return folder / "t.onnx", card


@pytest.mark.parametrize("encoder", MODELS)
def test_onnx_runtime_computes_what_torch_computes(
    encoder: str, patches: Patches
) -> None:
    net = network(encoder)
    session = open_session(to_onnx(net))

    check_parity(session, says(net), patches, sizes=(1, 2, 7))
    outputs = session.run(None, {"patches": patches[:5]})
    with torch.inference_mode():
        expected = net(torch.from_numpy(patches[:5]))

    for actual, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("precision", "times"), [("float32", 1), ("int8", 0)])
def test_all_but_eight_bits_are_separated_before_the_file_is_compared(
    precision: Precision, times: int, run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    separated: list[bytes] = []

    def separate(model: bytes) -> bytes:
        separated.append(model)
        return model

    def stop(*_: object) -> None:
        raise ExportError("far enough")

    monkeypatch.setattr(exporting, "separate", separate)
    monkeypatch.setattr(exporting, "check_parity", stop)

    terms = Terms("t", "CC BY 4.0", "PBC")
    with pytest.raises(ExportError, match="far enough"):
        export(run, load_patch_set(SAMPLES), terms, precision=precision)

    assert len(separated) == times


def test_parity_refuses_a_file_of_other_weights(patches: Patches) -> None:
    net = network("baseline")
    session = open_session(to_onnx(net))
    with torch.no_grad():
        net.head.weight[0, 0] += 0.1

    with pytest.raises(ExportError, match="at a batch of 1, the file differs from t"):
        check_parity(session, says(net), patches)


@pytest.mark.parametrize(
    ("encoder", "most"),
    [("hnet-r0", 70), ("hnet-r2", 120)],
)
def test_the_graph_holds_few_and_ordinary_operators(encoder: str, most: int) -> None:
    model = onnx.load_from_string(to_onnx(network(encoder)))

    assert {node.op_type for node in model.graph.node} <= ORDINARY
    assert {entry.domain for entry in model.opset_import} == {""}
    assert len(model.graph.node) <= most


def test_the_file_is_a_model_that_inference_accepts(
    exported: tuple[Path, ModelCard], patches: Patches
) -> None:
    path, card = exported

    classifier = Classifier.load(path)
    predictions = classifier.classify(patches)

    assert read_model(path)[1] == card == classifier.card
    assert predictions.probabilities.shape == (len(patches), 11)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_card_states_what_was_measured(exported: tuple[Path, ModelCard]) -> None:
    _, card = exported
    test: dict[str, Any] = card.metrics["test"]

    assert np.sum(test["confusion"]) == test["cells"] == 88
    assert test["accuracy"][0] == pytest.approx(np.trace(test["confusion"]) / 88)
    assert 0 < card.thresholds.set_probability < 1
    assert len(card.golden) == GOLDEN_CELLS
    assert card.data["credit"] == "PBC"


def test_a_quarter_turn_changes_probabilities_by_rounding_alone(
    exported: tuple[Path, ModelCard],
) -> None:
    assert exported[1].certificate["quarter_turn_max_abs"] < 1e-5


def test_a_net_that_turns_with_the_image_is_refused() -> None:
    certificate = {"quarter_turn_max_abs": 2e-5}

    check_certificate(certificate, "baseline")
    with pytest.raises(ExportError, match=r"by 2e-05 \(at most 1e-05 for hnet-r2\)"):
        check_certificate(certificate, "hnet-r2")


@pytest.mark.parametrize(("after", "refused"), [(0.848, False), (0.846, True)])
def test_a_precision_that_costs_too_much_is_refused_with_the_figures(
    after: float, refused: bool
) -> None:
    whole, reduced = {"macro_f1": [0.85, 0.8, 0.9]}, {"macro_f1": [after, 0.8, 0.9]}

    if not refused:
        check_cost(whole, reduced)
        return
    with pytest.raises(ExportError, match=r"falls from 0.8500 to 0.8460 \(at most by"):
        check_cost(whole, reduced)


@pytest.mark.parametrize(
    "precision", [pytest.param("int8", marks=needs_exact_sums), "fp16"]
)
def test_another_precision_is_written_into_a_card_and_read(
    run: TrainedRun, tmp_path: Path, precision: Precision, patches: Patches
) -> None:
    terms, path = Terms("t", "CC BY 4.0", "PBC"), tmp_path / "t.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promises, "COST", 0.2)  # 66 cells cannot tell 0.3 points
        patch.setattr(half, "LEAST_VALUES", 64)  # so few features are many, too
        model, card = export(run, load_patch_set(SAMPLES), terms, precision=precision)
    path.write_bytes(model)

    assert Classifier.load(path).card.precision == precision == card.precision
    assert golden_error(Classifier.load(path)) < 1e-5
    assert card.certificate["quarter_turn_max_abs"] < 1e-5


def test_a_set_without_validation_cells_is_refused(tmp_path: Path) -> None:
    rows = [f"{p.relative_to(SAMPLES).as_posix()}" for p in SAMPLES.glob("*/*.webp")]
    lines = [f"{row},{row.split('/')[0]},train" for row in rows[:40]]
    for row in rows[:40]:
        (tmp_path / row).parent.mkdir(exist_ok=True)
        (tmp_path / row).write_bytes((SAMPLES / row).read_bytes())
    (tmp_path / "index.csv").write_text("\n".join(["path,label,split", *lines]))

    with pytest.raises(DataError, match="no labelled cells in the split 'val'"):
        labelled_rows(load_patch_set(tmp_path), "val")
