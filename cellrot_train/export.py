"""A trained run -> one ONNX file that proves what it claims.

deploy (calibrate, fold) -> ONNX -> compare with torch -> certify -> card -> seal.
Nothing is written unless every step holds.
"""

import base64
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor

from cellrot_infer.card import ModelCard, seal
from cellrot_infer.certificate import certify
from cellrot_infer.errors import CellrotError
from cellrot_infer.types import PATCH_SIDE_PX, Patches, Predictions
from cellrot_train import metrics
from cellrot_train.confidence import reliability
from cellrot_train.data import PatchSet
from cellrot_train.deploy import deploy, groupings, labelled_rows
from cellrot_train.deployed import Deployed
from cellrot_train.pixels import load_patches
from cellrot_train.run import TrainedRun, versions

OPSET = 18
OUTPUTS = ("probabilities", "embeddings", "novelty", "orientation_rad")
PARITY = 1e-4  # of a probability: the two runtimes add up in different orders
CERTIFIED_CELLS = 220
GOLDEN_CELLS = 4
BATCH = 16  # larger batches leave the processor's cache


class ExportError(CellrotError):
    """The exported file would not keep what it promises."""


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
    note: Callable[[str], None] = lambda _: None,
) -> tuple[bytes, ModelCard]:
    """Return the sealed ONNX file of `run` and its card; `note` hears each step.

    Raises ExportError where ONNX Runtime and torch disagree on real patches.
    """
    note("calibrating on the validation cells")
    deployment = deploy(run, patch_set)
    note("writing the graph")
    model = to_onnx(deployment.network)
    session = open_session(model)
    note("comparing ONNX Runtime with torch")
    cells = _full_size(patch_set, _spread_out(patch_set, CERTIFIED_CELLS))
    check_parity(session, deployment.network, cells)
    note("measuring the file")
    card = ModelCard(
        name=terms.name,
        encoder=run.config.model,
        class_names=run.class_names,
        pixel_size_um=run.pixel_size_um,
        thresholds=deployment.thresholds,
        metrics={
            split: measure(session, patch_set, split) for split in ("val", "test")
        },
        certificate=certify(partial(classify, session), cells),
        data=_data(run, terms),
        licence=terms.licence,
        versions={**versions(), "onnx": onnx.__version__, "opset": str(OPSET)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        groupings=groupings(run.class_names),
        golden=golden_cells(session, cells[:: len(cells) // GOLDEN_CELLS + 1]),
    )
    return seal(model, card)


def summary(card: ModelCard) -> Iterator[str]:
    """Yield what the card promises, a line each."""
    for split, figures in card.metrics.items():
        value, low, high = figures["macro_f1"]
        calibration = figures["expected_calibration_error"]
        yield (
            f"{split}: macro-F1 {value:.3f} ({low:.3f} to {high:.3f}), "
            f"calibration error {calibration:.3f}, {figures['cells']} cells"
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
    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    return buffer.getvalue()


def open_session(model: bytes) -> ort.InferenceSession:
    """Return a session of `model` on the CPU, the device that every user has."""
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def classify(session: ort.InferenceSession, patches: Patches) -> Predictions:
    """Return what the file says of `patches`, in small batches."""
    names = [output.name for output in session.get_outputs()]
    parts = [
        session.run(names, {"patches": patches[start : start + BATCH]})
        for start in range(0, len(patches), BATCH)
    ]
    values = dict(
        zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True)
    )
    return Predictions(**values)


def check_parity(
    session: ort.InferenceSession,
    network: Deployed,
    patches: Patches,
    sizes: Iterable[int] = range(1, 66),
) -> None:
    """Raise ExportError where file and network differ, at any batch of `sizes`."""
    for size in sizes:
        rows = [row % len(patches) for row in range(size * size, size * size + size)]
        batch = patches[rows]
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch))[0].numpy()
        actual = session.run(["probabilities"], {"patches": batch})[0]
        worst = float(np.abs(actual - expected).max())
        flips = int((actual.argmax(1) != expected.argmax(1)).sum())
        if not worst <= PARITY or flips:
            raise ExportError(
                f"at a batch of {size}, ONNX Runtime differs from torch by {worst:.2g} "
                f"(at most {PARITY:g}) and in {flips} classes; nothing was written"
            )


def measure(
    session: ort.InferenceSession, patch_set: PatchSet, split: str
) -> dict[str, Any]:
    """Return figures of the file itself on the labelled cells of `split`."""
    rows = labelled_rows(patch_set, split)
    parts = [classify(session, part) for part in _parts(patch_set, rows)]
    probabilities = np.concatenate([part.probabilities for part in parts])
    truth, predicted = patch_set.labels[rows], probabilities.argmax(axis=1)
    confidence, correct = probabilities.max(axis=1), predicted == truth
    judged = metrics.judge(truth, predicted, probabilities.shape[1])
    return {
        "cells": len(rows),
        "macro_f1": list(judged.estimate(metrics.macro_f1)),
        "accuracy": list(judged.estimate(metrics.accuracy)),
        "expected_calibration_error": reliability(confidence, correct).error,
        "confusion": judged.counts.tolist(),
    }


def golden_cells(
    session: ort.InferenceSession, patches: Patches
) -> Sequence[dict[str, Any]]:
    """Return cells with what the file says of them, to check a workstation by."""
    probabilities = classify(session, patches).probabilities
    return tuple(
        {"patch": _lossless(patch), "probabilities": row.tolist()}
        for patch, row in zip(patches, probabilities, strict=True)
    )


def _lossless(patch: Patches) -> str:
    quality = (cv2.IMWRITE_WEBP_QUALITY, 101)  # above 100 is lossless
    done, data = cv2.imencode(".webp", patch[..., ::-1], quality)
    if not done:
        raise ValueError("OpenCV cannot encode WebP")
    return base64.b64encode(data.tobytes()).decode()


def _spread_out(patch_set: PatchSet, count: int) -> list[int]:
    rows = labelled_rows(patch_set, "val")
    rows.sort(key=lambda row: int(patch_set.labels[row]))
    return rows[:: max(1, len(rows) // count)][:count]


def _full_size(patch_set: PatchSet, rows: Sequence[int]) -> Patches:
    chosen = patch_set.subset(rows)
    images: Tensor = load_patches(chosen, "all", PATCH_SIDE_PX)
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _parts(patch_set: PatchSet, rows: Sequence[int]) -> Iterator[Patches]:
    for start in range(0, len(rows), 256):
        yield _full_size(patch_set, rows[start : start + 256])


def _data(run: TrainedRun, terms: Terms) -> dict[str, Any]:
    keys = ("sha256", "counts")
    return {"credit": terms.credit, **{k: run.data[k] for k in keys if k in run.data}}
