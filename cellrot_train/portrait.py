"""The pictures of a run: how it learned, what it confuses, what it keeps of a cell."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cellrot_infer.certificate import turn
from cellrot_infer.types import Patches
from cellrot_train.data import PatchSet
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.figures import (
    Strip,
    draw_confusion,
    draw_history,
    draw_strips,
    save,
)
from cellrot_train.intake import Intake
from cellrot_train.metrics import Counts

Painter = Callable[[Tensor], Tensor]

SHOWN_CELLS = 11
SHOWN_TURN_DEG = 60
MARGIN_PX = 2  # of the disc's soft edge, where colours are made up


def write_pictures(
    folder: Path,
    encoder: AutoEncoder,
    patches: Tensor,
    history: Sequence[Mapping[str, float]],
) -> None:
    """Write curves.png and reconstructions.png into the run `folder`.

    `patches` (N, 3, S, S) are the bytes of a few cells, `history` the rows of
    history.csv.
    """
    if history:
        save(draw_history(history), folder / "curves.png")
    if len(patches):
        strips = reconstructions(encoder, patches)
        save(draw_strips(strips), folder / "reconstructions.png")


def write_confusion(folder: Path, counts: Counts, class_names: Sequence[str]) -> None:
    """Write confusion.png of the validation cells into the run `folder`."""
    figure = draw_confusion(counts, class_names, "validation")
    save(figure, folder / "confusion.png")


def shown_cells(patch_set: PatchSet, split: str = "val") -> list[int]:
    """Return the positions of a few cells of `split`, of as many classes as it has."""
    rows = patch_set.indices(split)
    labels = patch_set.labels[rows]
    nth = np.zeros(len(rows), dtype=np.int64)  # a cell's number within its class
    for label in np.unique(labels):
        nth[labels == label] = np.arange((labels == label).sum())
    order = np.lexsort((labels, nth))[:SHOWN_CELLS]
    chosen: list[int] = rows[order].tolist()
    return chosen


def reconstructions(encoder: AutoEncoder, patches: Tensor) -> list[Strip]:
    """Return cells and turned cells, each above what the encoder makes of them.

    A reconstruction of an invariant code that knows no angle is the same for both: the
    fourth row then shows the pose of the second instead of that of the third.
    """
    upright = np.ascontiguousarray(patches.permute(0, 2, 3, 1).cpu().numpy())
    turned = turn(upright, SHOWN_TURN_DEG)
    return [
        Strip("cell", framed(upright)),
        Strip("reconstruction", framed(reconstruct(encoder, upright))),
        Strip(f"turned by {SHOWN_TURN_DEG}°", framed(turned)),
        Strip("reconstruction", framed(reconstruct(encoder, turned))),
    ]


@torch.no_grad()
def reconstruct(
    encoder: AutoEncoder, patches: Patches, paint: Painter | None = None
) -> Patches:
    """Return what `encoder` makes of patches (N, S, S, 3), in their colours.

    `paint` maps images to images in its place.
    """
    device = next(encoder.parameters()).device
    intake = Intake(patches.shape[1]).to(device)
    levels = torch.from_numpy(patches).permute(0, 3, 1, 2).to(device)
    was_training = encoder.training
    encoder.eval()
    restored = intake.restore((paint or encoder)(intake(levels)), levels).round().byte()
    encoder.train(was_training)
    return restored.permute(0, 2, 3, 1).cpu().numpy()


def framed(patches: Patches) -> Patches:
    """Return the patches with white corners: what lies there, no encoder sees."""
    side = patches.shape[1]
    along = np.arange(side) - (side - 1) / 2
    outside = np.hypot(along[:, None], along) > side / 2 - MARGIN_PX
    framed = patches.copy()
    framed[:, outside] = 255
    return framed
