"""Frames with known cells, and how well found cells agree with them."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cellrot_infer.frames import read_frame, read_image
from cellrot_infer.scale import RED_CELL_UM
from cellrot_infer.segment import segment
from cellrot_infer.types import Box, Cell, Frame, Mask

# Judged by eye and ruler, 7.2 um a red cell; set1 shows hardly any, there a neutrophil
# of 13 um is the measure.
PIXEL_SIZE_UM = {
    "bccd": 0.07,
    "pbc_fields": 0.10,
    "draaslan": 0.15,
    "set1": 0.16,
    "set2": 0.10,
}
BORDER_PX = 2
FEWEST_BOXES = 3
HIT = 0.5  # intersection over union from which a cell counts as found


@dataclass(frozen=True, slots=True)
class Labelled:
    """A frame, the boxes of its white cells and of its red cells."""

    frame: Frame
    white_cells: tuple[Box, ...]
    red_cells: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Masked:
    """An image of one white cell: the whole cell and its nucleus."""

    frame: Frame
    cell: Mask
    nucleus: Mask


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of found, missed and invented cells."""

    hits: int
    misses: int
    extras: int

    def __add__(self, other: "Score") -> "Score":
        """Return the counts of both."""
        return Score(
            self.hits + other.hits,
            self.misses + other.misses,
            self.extras + other.extras,
        )

    @property
    def recall(self) -> float:
        """Share of the true cells that were found."""
        return self.hits / max(self.hits + self.misses, 1)

    @property
    def precision(self) -> float:
        """Share of the found cells that are true."""
        return self.hits / max(self.hits + self.extras, 1)


def read_labelled(data: Path, name: str) -> Iterator[Labelled]:
    """Yield the frames of `data`/frames/`name` with their boxes."""
    folder = data / "frames" / name
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            corner = (round(float(row[key])) for key in "xywh")
            boxes[row["frame"]][row["label"]].append(Box(*corner))
    for path, found in boxes.items():  # some boxes are in the files several times
        frame = read_frame(folder / path, pixel_size_um=PIXEL_SIZE_UM[name])
        yield Labelled(frame, _once(found["wbc"]), _once(found["rbc"]))


def _once(boxes: Sequence[Box]) -> tuple[Box, ...]:
    return tuple(dict.fromkeys(boxes))


def read_masked(data: Path, name: str) -> Iterator[Masked]:
    """Yield the images of `data`/masks/`name` with their masks."""
    for path in sorted((data / "masks" / name).glob("*_image.png")):
        frame = read_frame(path, pixel_size_um=PIXEL_SIZE_UM[name])
        mask_path = path.with_name(path.name.replace("_image", "_mask"))
        levels = read_image(mask_path.read_bytes(), mask_path.name)[..., 0]
        yield Masked(frame, levels > 64, levels > 192)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over the union of two boxes."""
    right = min(one.x_px + one.width_px, other.x_px + other.width_px)
    bottom = min(one.y_px + one.height_px, other.y_px + other.height_px)
    width = max(0, right - max(one.x_px, other.x_px))
    height = max(0, bottom - max(one.y_px, other.y_px))
    areas = one.width_px * one.height_px + other.width_px * other.height_px
    return width * height / max(areas - width * height, 1)


def matches(found: Sequence[Box], true: Sequence[Box]) -> dict[int, int]:
    """Return which found box is which true one, the best agreement first."""
    pairs = sorted(
        (
            (overlap(f, t), i, j)
            for i, f in enumerate(found)
            for j, t in enumerate(true)
        ),
        reverse=True,
    )
    matched: dict[int, int] = {}
    for value, i, j in pairs:
        if value >= HIT and i not in matched and j not in matched.values():
            matched[i] = j
    return matched


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was found in a frame; `matched` says which cell is which white cell."""

    labelled: Labelled
    cells: Sequence[Cell]
    matched: dict[int, int]

    @property
    def score(self) -> Score:
        """Counts of the frame."""
        hits = len(self.matched)
        white_cells = len(self.labelled.white_cells)
        return Score(hits, white_cells - hits, len(self.cells) - hits)

    def agreement(self, cell: int) -> float:
        """Return the overlap of a matched cell with its box."""
        true = self.labelled.white_cells[self.matched[cell]]
        return overlap(self.cells[cell].box, true)


def judge(labelled: Labelled) -> Judged:
    """Find the cells of a frame and compare them with the known ones."""
    cells = segment(labelled.frame)
    found = [cell.box for cell in cells]
    return Judged(labelled, cells, matches(found, labelled.white_cells))


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """What was found of the cell in the middle of an image, and its Dice, 0 if none."""

    masked: Masked
    found: Cell | None
    cell_dice: float
    nucleus_dice: float


def outline(masked: Masked) -> Outlined:
    """Outline the cell in the middle of an image and compare it with its mask."""
    found = central(segment(masked.frame), masked.frame)
    if found is None:
        return Outlined(masked, None, 0.0, 0.0)
    cell = filled([found.outline], masked.cell.shape)
    nucleus = filled(found.nucleus, masked.cell.shape)
    return Outlined(
        masked, found, dice(cell, masked.cell), dice(nucleus, masked.nucleus)
    )


def in_first_half(name: str) -> bool:
    """Tell on which side of a split by the hash of its name an image is.

    Constants that are chosen on one half are judged by the other.
    """
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def red_cell_size_um(labelled: Labelled) -> float | None:
    """Return the pixel size at which whole boxes of red cells are 7.2 um, if any are.

    The median of the mean side of the boxes that do not touch the border.
    """
    height, width = labelled.frame.pixels.shape[:2]
    sides = [
        (box.width_px + box.height_px) / 2
        for box in labelled.red_cells
        if min(box.x_px, box.y_px) > BORDER_PX
        and box.x_px + box.width_px < width - BORDER_PX
        and box.y_px + box.height_px < height - BORDER_PX
    ]
    enough = len(sides) >= FEWEST_BOXES
    return RED_CELL_UM / float(np.median(sides)) if enough else None


def filled(
    polygons: Sequence[Sequence[tuple[int, int]]], shape: tuple[int, ...]
) -> Mask:
    """Return the mask of the polygons on an image of `shape`."""
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.array(p, np.int32) for p in polygons], 1)
    return mask > 0


def dice(one: Mask, other: Mask) -> float:
    """Return the Dice coefficient of two masks, 1 where both are empty."""
    both = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / both if both else 1.0


def central(cells: Sequence[Cell], frame: Frame) -> Cell | None:
    """Return the cell nearest to the middle of the frame."""
    height, width = frame.pixels.shape[:2]

    def away(cell: Cell) -> float:
        x, y = cell.centre_px
        return float(np.hypot(x - width / 2, y - height / 2))

    return min(cells, key=away, default=None)
