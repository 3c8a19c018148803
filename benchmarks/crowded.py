"""Crowded marrow fields with known truth, made of real cells.

No public frames of bone marrow carry boxes, so real cells of the PBC test split are cut
out along their outlines, given a new angle, and set close together among red cells and
platelets of the same patches. All happens in optical density, where light lost adds up,
so that the field can be shown in another laboratory's stain, light and focus.

The outlines come from the segmentation under test; only cells whose box agrees with the
published one are used, and the truth of a field is what was placed, not what was found.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.labelled import Labelled, central, filled, overlap
from cellrot_infer import stain
from cellrot_infer.frames import read_frame
from cellrot_infer.segment import segment
from cellrot_infer.types import RGB, Box, Floats, Frame, Mask, PixelSize

PIXEL_SIZE_UM = 0.1
FIELD_PX = (1000, 1200)  # height, width: 100 x 120 um
PATCHES_A_CLASS = 24
CELLS_A_FIELD = 45
RED_CELLS_A_FIELD = 25
PLATELETS_A_FIELD = 6
GAP_PX = 6  # between cells that do not touch
DEEPEST_TOUCH = 0.08  # share of the smaller cell that its neighbour hides
AGREEMENT = 0.8  # of the box of a cut-out with the published box
FOREGROUND = 0.06  # decades of light lost, all three colours together
RED_CELL_PX = (2500, 6000)  # area
PLATELET_PX = (200, 1200)
SENSOR_NOISE = 2.0  # grey levels
FEATHER_PX = 0.8

Mix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A laboratory: how its dyes lose light, its glass, its blur in micrometres."""

    name: str
    mix: Mix
    glass: tuple[int, int, int]
    blur_um: float


LOOKS = (
    Look("as stained", ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (254, 228, 202), 0.0),
    Look(
        "pale, soft, grey-green",
        ((0.45, 0, 0), (0, 0.4, 0), (0, 0, 0.35)),
        (197, 200, 196),
        0.25,
    ),
    Look(
        "yellow light",
        ((0.8, 0.1, 0), (0.1, 1, 0), (0, 0.1, 0.8)),
        (255, 250, 143),
        0.15,
    ),
    Look(
        "strong, green glass",
        ((1, 0, 0), (0.1, 1.2, 0), (0, 0.2, 1)),
        (180, 222, 194),
        0.1,
    ),
)


@dataclass(frozen=True, slots=True)
class CutOut:
    """An object without its surroundings: density (H, W, 3), coverage (H, W) 0 to 1."""

    density: Floats
    cover: Floats


@dataclass(frozen=True, slots=True)
class Cuttings:
    """What fields are made of."""

    cells: tuple[CutOut, ...]
    red_cells: tuple[CutOut, ...]
    platelets: tuple[CutOut, ...]


def read_cuttings(data: Path) -> Cuttings:
    """Return cells, red cells and platelets cut out of patches."""
    cells: list[CutOut] = []
    red_cells: list[CutOut] = []
    platelets: list[CutOut] = []
    for path, box in _patches(data / "pbc"):
        frame = read_frame(path, pixel_size_um=PIXEL_SIZE_UM)
        density = stain.optical_density(frame.pixels, stain.find_glass(frame.pixels))
        found = central(segment(frame), frame)
        if found and overlap(found.box, box) > AGREEMENT and not found.touches_border:
            cells.append(_cut(density, filled([found.outline], density.shape)))
        red_cells += [
            cut for cut in _lone_objects(density, *RED_CELL_PX) if not _is_stained(cut)
        ]
        platelets += [
            cut for cut in _lone_objects(density, *PLATELET_PX) if _is_stained(cut)
        ]
    return Cuttings(tuple(cells), tuple(red_cells), tuple(platelets))


def crowded_fields(
    cuttings: Cuttings, touching: float, count: int, seed: int
) -> Iterator[tuple[Look, Labelled]]:
    """Yield `count` fields in each look; a share `touching` of the cells touch."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        density, boxes = _compose(cuttings, touching, rng)
        for look in LOOKS:
            name = f"touching {touching:.0%}, field {number}, {look.name}"
            pixels = _render(density, look, rng)
            size = PixelSize(PIXEL_SIZE_UM, "option")
            yield look, Labelled(Frame(name, pixels, size), tuple(boxes))


def _patches(folder: Path) -> Iterator[tuple[Path, Box]]:
    """Yield path and box of the first patches of each class in the test split."""
    taken: dict[str, int] = {}
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = row["label"]
            enough = taken.get(label, 0) >= PATCHES_A_CLASS
            if row["split"] != "test" or not row["box_x"] or enough:
                continue
            taken[label] = taken.get(label, 0) + 1
            corner = (round(float(row[f"box_{key}"])) for key in "xywh")
            yield folder / row["path"], Box(*corner)


def _cut(density: Floats, mask: Mask) -> CutOut:
    """Return what lies under `mask`, with a soft rim, in the smallest square for it."""
    ys, xs = np.nonzero(mask)
    reach = int(np.hypot(np.ptp(ys), np.ptp(xs)) / 2) + 4
    y, x = int(np.mean([ys.min(), ys.max()])), int(np.mean([xs.min(), xs.max()]))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), FEATHER_PX)
    pad = ((reach, reach), (reach, reach))
    square = np.s_[y : y + 2 * reach, x : x + 2 * reach]
    return CutOut(
        np.pad(density, (*pad, (0, 0)))[square].astype(np.float32),
        np.pad(soft, pad)[square].astype(np.float32),
    )


def _lone_objects(density: Floats, smallest_px: int, largest_px: int) -> list[CutOut]:
    """Return the compact dyed objects of this size that stand free in a patch."""
    dyed = (density.sum(axis=2) > FOREGROUND).astype(np.uint8)
    contours, _ = cv2.findContours(dyed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lone = []
    for contour in contours:
        area = cv2.contourArea(contour)
        x, y, width, height = cv2.boundingRect(contour)
        inside = min(x, y, 255 - x - width, 255 - y - height) > 0
        solid = area > 0.9 * cv2.contourArea(cv2.convexHull(contour))
        if inside and solid and smallest_px < area < largest_px:
            lone.append(_cut(density, filled([contour[:, 0].tolist()], density.shape)))
    return lone


def _is_stained(cut: CutOut) -> bool:
    """Tell dye of nuclei and platelets from that of red cells."""
    stained = stain.nuclear_stain(cut.density)[cut.cover > 0.5]
    return bool(np.percentile(stained, 98) > 0.3)


def _compose(
    cuttings: Cuttings, touching: float, rng: np.random.Generator
) -> tuple[Floats, list[Box]]:
    """Return the density of a field and the boxes of its cells."""
    field = np.zeros((*FIELD_PX, 3), np.float32)
    placed: list[Mask] = []
    followers = round(CELLS_A_FIELD * touching / 2)
    for number in range(CELLS_A_FIELD):
        cut = _turned(cuttings.cells, rng)
        follows = number >= CELLS_A_FIELD - followers
        host = placed[number - CELLS_A_FIELD + followers] if follows else None
        corner = _corner(cut.cover > 0.5, placed, host, rng)
        if corner:
            placed.append(_lay(field, cut, corner))
    _scatter(field, placed, cuttings.red_cells, RED_CELLS_A_FIELD, rng)
    _scatter(field, placed, cuttings.platelets, PLATELETS_A_FIELD, rng)
    return field, [Box(*cv2.boundingRect(mask.astype(np.uint8))) for mask in placed]


def _scatter(
    field: Floats,
    placed: Sequence[Mask],
    cuts: Sequence[CutOut],
    count: int,
    rng: np.random.Generator,
) -> None:
    """Lay other objects where they hide no cell; they may touch."""
    taken = list(placed)
    for _ in range(count):
        cut = _turned(cuts, rng)
        corner = _free_corner(cut.cover > 0.5, taken, 1, rng)
        if corner:
            taken.append(_lay(field, cut, corner))


def _turned(cuts: Sequence[CutOut], rng: np.random.Generator) -> CutOut:
    cut = cuts[int(rng.integers(len(cuts)))]
    side = len(cut.cover)
    centre = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, float(rng.uniform(0, 360)), 1.0)
    return CutOut(
        cv2.warpAffine(cut.density, turn, (side, side)).astype(np.float32),
        cv2.warpAffine(cut.cover, turn, (side, side)).astype(np.float32),
    )


Corner = tuple[int, int]  # y, x


def _corner(
    mask: Mask, placed: Sequence[Mask], host: Mask | None, rng: np.random.Generator
) -> Corner | None:
    if host is None:
        return _free_corner(mask, placed, GAP_PX, rng)
    others = [other for other in placed if other is not host]
    for _ in range(60):
        corner = _touching_corner(mask, host, rng)
        if corner and not _covered(mask, others, corner, GAP_PX):
            return corner
    return None


def _free_corner(
    mask: Mask, placed: Sequence[Mask], gap_px: int, rng: np.random.Generator
) -> Corner | None:
    side = len(mask)
    for _ in range(500):
        y, x = rng.integers(0, (FIELD_PX[0] - side, FIELD_PX[1] - side))
        if not _covered(mask, placed, (int(y), int(x)), gap_px):
            return int(y), int(x)
    return None


def _touching_corner(mask: Mask, host: Mask, rng: np.random.Generator) -> Corner | None:
    """Return where `mask` comes to rest against `host`, moved in from one side."""
    side = len(mask)
    angle = rng.uniform(0, 2 * np.pi)
    hidden = rng.uniform(0.005, DEEPEST_TOUCH)
    ys, xs = np.nonzero(host)
    smaller = float(min(int(np.count_nonzero(mask)), len(ys)))
    step_y, step_x = float(np.sin(angle)), float(np.cos(angle))
    for distance in range(300, 0, -1):
        y = round(float(ys.mean()) + distance * step_y) - side // 2
        x = round(float(xs.mean()) + distance * step_x) - side // 2
        if min(y, x) < 0 or y + side > FIELD_PX[0] or x + side > FIELD_PX[1]:
            continue
        under = np.count_nonzero(host[y : y + side, x : x + side] & mask)
        if under > hidden * smaller:
            return (y, x) if under < DEEPEST_TOUCH * smaller else None
    return None


def _covered(mask: Mask, placed: Sequence[Mask], corner: Corner, gap_px: int) -> bool:
    y, x = corner
    side = len(mask)
    around = np.ones((2 * gap_px + 1, 2 * gap_px + 1), np.uint8)
    wide = cv2.dilate(mask.astype(np.uint8), around) > 0
    return any((other[y : y + side, x : x + side] & wide).any() for other in placed)


def _lay(field: Floats, cut: CutOut, corner: Corner) -> Mask:
    """Lay the cut-out over `field` and return where it lies."""
    y, x = corner
    side = len(cut.cover)
    square = np.s_[y : y + side, x : x + side]
    cover = cut.cover[..., None]
    field[square] = cover * cut.density + (1 - cover) * field[square]
    mask = np.zeros(FIELD_PX, bool)
    mask[square] = cut.cover > 0.5
    return mask


def _render(density: Floats, look: Look, rng: np.random.Generator) -> RGB:
    """Return the image of a field of this density that this laboratory takes."""
    mixed = density @ np.array(look.mix, np.float32)
    light = np.array(look.glass, np.float32) * np.float32(10) ** -mixed
    if look.blur_um:
        light = cv2.GaussianBlur(light, (0, 0), look.blur_um / PIXEL_SIZE_UM)
    noisy = light + rng.normal(0, SENSOR_NOISE, light.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
