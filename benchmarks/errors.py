"""A contact sheet of the errors that a model is surest of, to be looked at.

Many are cells that another expert would call as the model does.
"""

from pathlib import Path

import cv2
import numpy as np

from cellrot_infer.files import write_bytes
from cellrot_infer.types import RGB, Floats, Patches
from cellrot_train.metrics import Indices

WORST, COLUMNS = 40, 8
TILE_PX, LINE_PX = 128, 13
SOURCE = "Cells: Acevedo et al., Data in Brief 30 (2020) 105474, CC BY 4.0"
QUALITY = (cv2.IMWRITE_WEBP_QUALITY, 80)


def surest_errors(probabilities: Floats, labels: Indices) -> Indices:
    """Return the positions of wrong cells, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return np.asarray(wrong[order[:WORST]], np.int64)


def write_sheet(tiles: list[RGB], path: Path) -> None:
    """Write `tiles`, all of one size, as one WebP with the source of the cells."""
    blank = np.full_like(tiles[0], 255)
    tiles = tiles + [blank] * (-len(tiles) % COLUMNS)
    starts = range(0, len(tiles), COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in starts]
    picture = np.vstack([*rows, lines((SOURCE,), rows[0].shape[1])])
    _, data = cv2.imencode(".webp", np.ascontiguousarray(picture[..., ::-1]), QUALITY)
    write_bytes(path, data.tobytes())


def tile(patch: Patches, truth: str, predicted: str, probability: float) -> RGB:
    """Return a cell (S, S, 3) above what it is, and what it was called."""
    size = (TILE_PX, TILE_PX)
    small = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    said = (truth, f"{probability:.3f} {predicted}")
    return np.vstack([small, lines(said, TILE_PX)])


def lines(texts: tuple[str, ...], width_px: int) -> RGB:
    """Return black lines of text on white."""
    picture = np.full((LINE_PX * len(texts) + 4, width_px, 3), 255, np.uint8)
    for number, text in enumerate(texts, start=1):
        words = text.replace("_", " ")
        cv2.putText(picture, words, (2, LINE_PX * number), 0, 0.32, (0, 0, 0), 1)
    return picture
