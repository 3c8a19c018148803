"""The invariance certificate: how much a model's answers change when cells turn."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from cellrot_infer.errors import ModelError
from cellrot_infer.types import Floats, Patches, Predictions

QUARTER_TURNS = (1, 2, 3)
OTHER_ANGLES_DEG = tuple(angle for angle in range(15, 360, 15) if angle % 90)


def turn(patches: Patches, degrees: float) -> Patches:
    """Return the patches (N, S, S, 3) turned counter-clockwise about their centres.

    Quarter turns move whole pixels; other angles interpolate (bicubic), and the
    corners that come into view mirror the border.
    """
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(patches, round(degrees / 90), (1, 2)))
    side = patches.shape[1]
    centre = ((side - 1) / 2, (side - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1)
    turned = [
        cv2.warpAffine(
            patch, matrix, (side, side), None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
        )
        for patch in patches
    ]
    return np.stack(turned).astype(np.uint8) if turned else patches


def certify(
    classify: Callable[[Patches], Predictions],
    patches: Patches,
    angles_deg: Sequence[int] = OTHER_ANGLES_DEG,
) -> dict[str, Any]:
    """Measure how the predictions of real `patches` change when they turn.

    `quarter_turn_max_abs` is the largest change of a probability at 90, 180 and 270
    degrees, `quarter_turn_embedding` that of the embedding over its mean norm. At each
    other angle, `flips` is the share of cells whose class changes and `spread` the
    mean change of the embedding over the mean distance between different cells (1:
    as different as another cell).
    """
    upright = classify(patches)
    quarters = [classify(turn(patches, 90 * turns)) for turns in QUARTER_TURNS]
    others = [classify(turn(patches, angle)) for angle in angles_deg]
    return {
        "cells": len(patches),
        "quarter_turn_max_abs": max(_largest_change(q, upright) for q in quarters),
        "quarter_turn_embedding": max(_embedding_change(q, upright) for q in quarters),
        "angles_deg": list(angles_deg),
        "flips": [_flips(turned, upright) for turned in others],
        "spread": [spread(turned.embeddings, upright.embeddings) for turned in others],
    }


def spread(turned: Floats, upright: Floats) -> float:
    """Return how far vectors (N, D) move over how far different cells are apart.

    0: turning changes nothing; 1: a turned cell is as different as another cell.
    Raises ModelError where cells do not differ.
    """
    change = _norms(turned - upright).mean()
    # neighbours in a shifted order are different cells, and all of them take part
    other = np.roll(upright, len(upright) // 2, axis=0)
    apart = _norms(other - upright).mean()
    if not apart:
        raise ModelError(
            f"the encoder has one answer to all cells ({len(upright)}), expected that "
            "they differ; give more cells, or train longer or with another objective"
        )
    return float(change / apart)


def _largest_change(turned: Predictions, upright: Predictions) -> float:
    return float(np.abs(turned.probabilities - upright.probabilities).max())


def _embedding_change(turned: Predictions, upright: Predictions) -> float:
    change = np.abs(turned.embeddings - upright.embeddings).max()
    return float(change / _norms(upright.embeddings).mean())


def _flips(turned: Predictions, upright: Predictions) -> float:
    before, after = (p.probabilities.argmax(axis=1) for p in (upright, turned))
    return float((before != after).mean())


def _norms(vectors: Floats) -> Floats:
    norms: Floats = np.linalg.norm(vectors, axis=1)
    return norms
