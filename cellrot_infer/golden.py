"""The golden cells of a card: does the file still say here what it said at export?"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from cellrot_infer.card import ModelCard
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import FrameError, ModelError
from cellrot_infer.images import read_image
from cellrot_infer.types import PATCH_SIDE_PX, Floats, Patches

GOLDEN_SIDE_PX = 64  # of the images in the card; a divisor of the patch
TOLERANCE = 1e-3  # processors sum in different orders; a wrong answer is further off


def golden_patches(card: ModelCard) -> Patches:
    """Return the golden cells (N, 256, 256, 3); ModelError where they are damaged."""
    cells = [_patch(cell) for cell in card.golden]
    if any(cell.shape != (PATCH_SIDE_PX, PATCH_SIDE_PX, 3) for cell in cells):
        raise ModelError(f"model {card.name}: a golden cell is no patch")
    empty = np.empty((0, PATCH_SIDE_PX, PATCH_SIDE_PX, 3), np.uint8)
    return np.stack(cells) if cells else empty


def golden_error(classifier: Classifier) -> float:
    """Return the largest change of a probability of the golden cells, 0 without any."""
    patches = golden_patches(classifier.card)
    if not len(patches):
        return 0.0
    actual = classifier.classify(patches).probabilities
    expected = [_probabilities(cell) for cell in classifier.card.golden]
    if strange := [row for row in expected if row.shape != actual[0].shape]:
        raise ModelError(
            f"model {classifier.card.name}: a golden cell has {len(strange[0])} "
            f"probabilities, expected {actual.shape[1]}"
        )
    return float(np.abs(actual - np.stack(expected)).max())


def enlarged(image: Patches) -> Patches:
    """Return an image of a card as a patch: a small one has each pixel repeated."""
    small = image.shape[:2] == (GOLDEN_SIDE_PX, GOLDEN_SIDE_PX)
    times = PATCH_SIDE_PX // GOLDEN_SIDE_PX if small else 1
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _patch(cell: Mapping[str, Any]) -> Patches:
    try:
        data = base64.b64decode(str(cell.get("patch", "")), validate=True)
        return enlarged(read_image(data, "golden cell"))
    except (ValueError, FrameError) as error:
        raise ModelError(f"a golden cell cannot be read ({error})") from None


def _probabilities(cell: Mapping[str, Any]) -> Floats:
    try:
        values = np.array(cell.get("probabilities"), np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise ModelError("a golden cell has no probabilities") from None
    if not (np.abs(values) <= 1 + TOLERANCE).all():  # nor is what is no number
        raise ModelError("a golden cell has probabilities beyond 0 to 1")
    return values.astype(np.float32)
