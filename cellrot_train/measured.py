"""What a finished file says of real cells: figures for its card, and golden cells."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from cellrot_infer.golden import GOLDEN_SIDE_PX, enlarged
from cellrot_infer.types import PATCH_SIDE_PX, Floats, Patches, Predictions
from cellrot_train import metrics
from cellrot_train.confidence import reliability
from cellrot_train.data import PatchSet
from cellrot_train.deploy import labelled_rows, spread_out
from cellrot_train.graph import BATCH
from cellrot_train.pixels import decode_patches

CERTIFIED_CELLS = 220
GOLDEN_CELLS = 8
PART = 256


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


def measure(
    session: ort.InferenceSession,
    patch_set: PatchSet,
    split: str,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Return figures of the file itself on the labelled cells of `split`.

    `temperature` is the one inside; the calibration error without it is given too.
    """
    rows = labelled_rows(patch_set, split)
    parts = full_size_parts(patch_set, rows)
    probabilities = np.concatenate([classify(session, p).probabilities for p in parts])
    truth, predicted = patch_set.labels[rows], probabilities.argmax(axis=1)
    judged = metrics.judge(truth, predicted, probabilities.shape[1])
    raw = sharpened(probabilities, temperature)
    return {
        "cells": len(rows),
        "macro_f1": list(judged.estimate(metrics.macro_f1)),
        "accuracy": list(judged.estimate(metrics.accuracy)),
        "expected_calibration_error": _calibration_error(probabilities, truth),
        "uncalibrated_error": _calibration_error(raw, truth),
        "confusion": judged.counts.tolist(),
    }


def sharpened(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities (N, K) as they were before their logits were divided."""
    logits = temperature * np.log(np.maximum(probabilities.astype(np.float64), 1e-300))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def golden_cells(
    session: ort.InferenceSession, patches: Patches
) -> Sequence[dict[str, Any]]:
    """Return cells with what the file says of them, to check a workstation by.

    They are kept small: the file sees a small image enlarged to a patch.
    """
    side = (GOLDEN_SIDE_PX, GOLDEN_SIDE_PX)
    small = [cv2.resize(p, side, interpolation=cv2.INTER_AREA) for p in patches]
    shown = np.stack([enlarged(image) for image in small])
    answers = classify(session, shown).probabilities
    return tuple(
        {"patch": _lossless(image), "probabilities": row.tolist()}
        for image, row in zip(small, answers, strict=True)
    )


def certified_cells(patch_set: PatchSet) -> Patches:
    """Return the validation cells that the certificate is measured on."""
    rows = labelled_rows(patch_set, "val")
    chosen = spread_out(patch_set, rows, CERTIFIED_CELLS)
    return decode_patches(patch_set, chosen, PATCH_SIDE_PX)


def full_size_parts(patch_set: PatchSet, rows: Sequence[int]) -> Iterator[Patches]:
    """Yield the patches at `rows` at full size, as many as memory holds easily."""
    for start in range(0, len(rows), PART):
        yield decode_patches(patch_set, rows[start : start + PART], PATCH_SIDE_PX)


def _calibration_error(probabilities: Floats, truth: np.ndarray) -> float:
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    return reliability(confidence, predicted == truth).error


def _lossless(image: Patches) -> str:
    quality = (cv2.IMWRITE_WEBP_QUALITY, 101)  # above 100 is lossless
    done, data = cv2.imencode(".webp", image[..., ::-1], quality)
    if not done:
        raise ValueError("OpenCV cannot encode WebP")
    return base64.b64encode(data.tobytes()).decode()
