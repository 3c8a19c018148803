"""Labelled cells at the size that models expect, read as they are needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cellrot_infer.errors import DataError
from cellrot_infer.types import PATCH_SIDE_PX, Patches
from cellrot_train.data import PatchSet
from cellrot_train.metrics import Indices
from cellrot_train.pixels import load_pixels

BATCH = 128


@dataclass(frozen=True)
class Cells:
    """Labelled cells; `read` gives the patches (M, 256, 256, 3) at positions (M,).

    `labels` (N,) index `class_names`; `slides` (N,) are empty where unknown; `sha256`
    is the fingerprint of the set.
    """

    read: Callable[[Indices], Patches]
    labels: Indices
    class_names: tuple[str, ...]
    slides: NDArray[np.str_]
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Indices) -> "Cells":
        """Return the cells at `rows`."""
        labels, slides = self.labels[rows], self.slides[rows]
        return Cells(
            lambda some: self.read(rows[some]), labels, self.class_names, slides
        )

    def parts(self) -> Iterator[tuple[Indices, Patches]]:
        """Yield positions and patches, some at a time."""
        for start in range(0, len(self), BATCH):
            rows = np.arange(start, min(start + BATCH, len(self)))
            yield rows, self.read(rows)


def joined(first: Cells, second: Cells) -> Cells:
    """Return the cells of both, which have the same classes and size."""
    border = len(first)

    def read(rows: Indices) -> Patches:
        early = rows < border
        parts = first.read(rows[early]), second.read(rows[~early] - border)
        found = np.empty((len(rows), *parts[0].shape[1:]), np.uint8)
        found[early], found[~early] = parts
        return found

    labels = np.concatenate([first.labels, second.labels])
    slides = np.concatenate([first.slides, second.slides])
    return Cells(read, labels, first.class_names, slides)


def labelled_cells(patch_set: PatchSet, split: str) -> tuple[Cells, tuple[str, ...]]:
    """Return the labelled cells of `split`, and a note for each unreadable one.

    Raises DataError where there are none, or too many are unreadable.
    """
    rows = patch_set.indices(split)
    rows = rows[patch_set.labels[rows] >= 0]
    if not len(rows):
        raise DataError(
            f"{patch_set.root}: no labelled cells in the split {split!r}; "
            "choose another with --split, or `all`"
        )
    pixels = load_pixels(patch_set.subset(rows), PATCH_SIDE_PX)

    def read(rows: Indices) -> Patches:
        images = pixels.images[torch.from_numpy(rows)]
        return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())

    kept = pixels.patch_set
    notes = tuple(f"left out {name}: {reason}" for name, reason in pixels.unreadable)
    cells = Cells(read, kept.labels, kept.class_names, kept.slides, pixels.sha256)
    return cells, notes
