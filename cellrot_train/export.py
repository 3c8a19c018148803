"""A trained run -> one ONNX file that proves what it claims.

deploy (calibrate, fold) -> ONNX -> separate -> compare with torch -> reduce, if asked
-> certify -> card -> seal. Nothing is written unless every step holds.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from cellrot_infer.card import ModelCard, seal
from cellrot_infer.certificate import certify
from cellrot_infer.types import PATCH_SIDE_PX, Floats, Patches
from cellrot_train.crop import crop_at_once
from cellrot_train.data import PatchSet
from cellrot_train.deploy import Readout, deploy, groupings
from cellrot_train.deployed import Deployed
from cellrot_train.graph import open_session
from cellrot_train.laboratory import survey
from cellrot_train.measured import (
    GOLDEN_CELLS,
    certified_cells,
    classify,
    golden_cells,
    measure,
)
from cellrot_train.promises import (
    ExportError,
    check_certificate,
    check_cost,
    check_parity,
)
from cellrot_train.reduced import Precision, reduce
from cellrot_train.run import TrainedRun, versions
from cellrot_train.separate import separate

OPSET = 18
OUTPUTS = ("probabilities", "embeddings", "novelty", "orientation_rad")
SPLITS = ("val", "test")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the maker of a model says of it: its name, its licence, whom to credit."""

    name: str
    licence: str
    credit: str


def export(
    run: TrainedRun,
    patch_set: PatchSet,
    terms: Terms,
    *,
    precision: Precision = "float32",
    note: Callable[[str], None] = lambda _: None,
) -> tuple[bytes, ModelCard]:
    """Return the sealed ONNX file of `run` and its card; `note` hears each step.

    Raises ExportError where the file would not keep its promises.
    """
    note("calibrating on the validation cells")
    network, readout = deploy(run, patch_set)
    note("writing the graph")
    model = to_onnx(network)
    if precision != "int8":  # whose products are too cheap for it to pay
        model = separate(model)
    note("comparing ONNX Runtime with torch")
    cells = certified_cells(patch_set)
    check_parity(open_session(model), partial(_torch_says, network), cells)
    if precision != "float32":
        note(f"going over to {precision}")
        model, readout = reduced(model, readout, precision, run, patch_set)
    note("measuring the file")
    card = describe(run, patch_set, terms, open_session(model), readout)
    check_certificate(card.certificate, card.encoder)
    return seal(model, replace(card, precision=precision))


def reduced(
    model: bytes,
    readout: Readout,
    precision: Precision,
    run: TrainedRun,
    patch_set: PatchSet,
) -> tuple[bytes, Readout]:
    """Return `model` in another precision and its readout, if it costs little enough.

    Raises ExportError where macro-F1 falls.
    """
    before, cells = open_session(model), certified_cells(patch_set)
    smaller, readout = reduce(model, precision, patch_set, readout.novelty)
    after = open_session(smaller)
    check_parity(after, partial(_says_of_each, after), cells, other="itself")
    figures = (measure(session, patch_set, "val") for session in (before, after))
    check_cost(*figures)
    return smaller, readout


def describe(
    run: TrainedRun,
    patch_set: PatchSet,
    terms: Terms,
    session: ort.InferenceSession,
    readout: Readout,
) -> ModelCard:
    """Return the card of the file in `session`: all that is known and measured."""
    cells, temperature = certified_cells(patch_set), readout.temperature
    home = survey(patch_set, run.pixel_size_um)
    figures = {
        split: measure(session, patch_set, split, temperature) for split in SPLITS
    }
    return ModelCard(
        name=terms.name,
        encoder=run.config.model,
        class_names=run.class_names,
        pixel_size_um=run.pixel_size_um,
        thresholds=readout.thresholds,
        metrics={**figures, "temperature": temperature},
        certificate=certify(partial(classify, session), cells),
        data=_data(run, terms),
        licence=terms.licence,
        versions={**versions(), "onnx": onnx.__version__, "opset": str(OPSET)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        groupings=groupings(run.class_names),
        golden=golden_cells(session, cells[:: len(cells) // GOLDEN_CELLS + 1]),
        stain=home.stain,
        focus=home.focus,
        largest_um2=home.largest_um2,
    )


def summary(card: ModelCard) -> Iterator[str]:
    """Yield what the card promises, a line each."""
    for split in SPLITS:
        figures = card.metrics[split]
        value, low, high = figures["macro_f1"]
        yield (
            f"{split}: macro-F1 {value:.3f} ({low:.3f} to {high:.3f}), calibration "
            f"error {figures['expected_calibration_error']:.3f} (before it was "
            f"calibrated {figures['uncalibrated_error']:.3f}), {figures['cells']} cells"
        )
    certificate = card.certificate
    yield (
        f"quarter turns change a probability by at most "
        f"{certificate['quarter_turn_max_abs']:.1g}; other angles change "
        f"{100 * np.mean(certificate['flips']):.1f} % of the classes, the embedding by "
        f"{np.mean(certificate['spread']):.3f} of the distance between cells"
    )


def to_onnx(network: Deployed) -> bytes:
    """Return the ONNX bytes of `network`: plain operators, any batch size."""
    example = torch.zeros(2, PATCH_SIDE_PX, PATCH_SIDE_PX, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        count = len(network(example))
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["patches"],
            output_names=list(OUTPUTS[:count]),
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
    if program is None:
        raise ExportError("torch exported nothing; update torch and onnxscript")
    model, graph = program.model_proto, program.model_proto.graph
    ends = (*graph.input, *graph.output, *graph.initializer)
    for part in (model, graph, *graph.node, *graph.value_info, *ends):
        del part.metadata_props[:]  # which line of torch it came from
    return crop_at_once(model.SerializeToString())


@torch.inference_mode()
def _torch_says(network: Deployed, patches: Patches) -> Floats:
    probabilities: Floats = network(torch.from_numpy(patches))[0].numpy()
    return probabilities


def _says_of_each(session: ort.InferenceSession, patches: Patches) -> Floats:
    rows = [session.run(["probabilities"], {"patches": p[None]})[0] for p in patches]
    return np.concatenate(rows)


def _data(run: TrainedRun, terms: Terms) -> dict[str, Any]:
    keys = ("sha256", "counts")
    return {"credit": terms.credit, **{k: run.data[k] for k in keys if k in run.data}}
