"""What the training cells look like at home: the colours of their stain, their size."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellrot_infer.field import Field
from cellrot_infer.quality import find_focus
from cellrot_infer.segment import segment_field
from cellrot_infer.types import PATCH_SIDE_PX, Cell, Frame, PixelSize, StainColours
from cellrot_train.data import PatchSet
from cellrot_train.deploy import labelled_rows, spread_out
from cellrot_train.pixels import decode_patches

CELLS = 660
PART = 100
NEAR_UM = 3.0  # from the middle of its patch to that of a cell
FEWEST = 20  # cells of a class of which the largest says something
NEARLY_ALL = 99  # per cent of a class
MARGIN = 1.5  # of an area: a pixel size may be wrong by a fifth


@dataclass(frozen=True, slots=True)
class Laboratory:
    """What a card tells of the laboratory that a model learned in."""

    stain: StainColours | None
    focus: float
    largest_um2: Mapping[str, float]


def survey(patch_set: PatchSet, pixel_size_um: float) -> Laboratory:
    """Return what training cells of all classes show, seen as inference sees them.

    Each patch is a small field, in which the cell in the middle is the labelled one.
    """
    rows = spread_out(patch_set, labelled_rows(patch_set, "train"), CELLS)
    size = PixelSize(pixel_size_um, "option")
    seen: list[StainColours] = []
    sharpness: list[float] = []
    areas: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        patches = decode_patches(patch_set, part, PATCH_SIDE_PX)
        for row, patch in zip(part, patches, strict=True):
            field = Field.of(Frame("", patch, size))
            cells, colours = segment_field(field)
            sharpness += [find_focus(field.density)] if colours else []
            seen += [colours] if colours else []
            name = patch_set.class_names[patch_set.labels[row]]
            areas[name] += [c.area_um2 for c in cells if _is_central(c, pixel_size_um)]
    largest = {
        name: _largest(some)
        for name, some in sorted(areas.items())
        if len(some) >= FEWEST
    }
    focus = float(np.median(sharpness)) if sharpness else 0.0
    return Laboratory(_typical(seen), focus, largest)


def _is_central(cell: Cell, pixel_size_um: float) -> bool:
    off = np.subtract(cell.centre_px, PATCH_SIDE_PX / 2)
    return bool(np.hypot(*off) * pixel_size_um < NEAR_UM)


def _largest(areas_um2: Sequence[float]) -> float:
    return round(MARGIN * float(np.percentile(areas_um2, NEARLY_ALL)), 1)


def _typical(seen: Sequence[StainColours]) -> StainColours | None:
    if not seen:
        return None
    return StainColours(
        _middle([colours.red_cells for colours in seen]),
        _middle([colours.nuclei for colours in seen]),
    )


def _middle(directions: Sequence[tuple[float, ...]]) -> tuple[float, float, float]:
    middle = np.median(directions, axis=0)
    red, green, blue = (middle / np.linalg.norm(middle)).tolist()
    return red, green, blue
