"""The nouns of the project: frame -> cells -> patches -> predictions -> report.

Coordinates are pixels from the top left corner of the frame, x to the right, y down.
Everything that enters a report is made of plain values, so that a report read back
equals the report that was written.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]  # (H, W, 3)
Mask = NDArray[np.bool_]  # (H, W)
Patches = NDArray[np.uint8]  # (N, 256, 256, 3), RGB
Floats = NDArray[np.float32]
Polygon = tuple[tuple[int, int], ...]  # (x_px, y_px) corners; the last joins the first

PATCH_SIDE_PX = 256

PixelSizeSource = Literal["option", "metadata", "red cells", "model"]
Decision = Literal["accepted", "uncertain", "unknown"]
UNDECIDED = ("uncertain", "unknown")  # are rows of a count, and no names of classes


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Micrometres on the slide per pixel, and how that is known.

    `spread` is the relative standard error of an estimate, 0 where the value was told.
    """

    um: float
    source: PixelSizeSource
    spread: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image with its physical scale; `sha256` is that of the file."""

    name: str
    pixels: RGB
    pixel_size: PixelSize
    sha256: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def pixel_size_um(self) -> float:
        """Micrometres on the slide per pixel."""
        return self.pixel_size.um


@dataclass(frozen=True, slots=True)
class StainColours:
    """What a stain looks like: two directions of optical density in red, green, blue.

    Both have length one: how much dye there is says nothing here.
    """

    red_cells: tuple[float, float, float]
    nuclei: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle: top left corner and size, in pixels of the frame."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    @property
    def corners(self) -> Polygon:
        """The four corners, from the top left towards the right."""
        right, below = self.x_px + self.width_px, self.y_px + self.height_px
        return (
            (self.x_px, self.y_px),
            (right, self.y_px),
            (right, below),
            (self.x_px, below),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A nucleated cell: its outline, its nucleus (a polygon a lobe) and its measures.

    `quality` in [0, 1] says how far to trust the outline; the areas are those of the
    polygons, in square micrometres.
    """

    box: Box
    outline: Polygon
    nucleus: tuple[Polygon, ...]
    area_um2: float
    nucleus_area_um2: float
    touches_border: bool
    quality: float

    @property
    def centre_px(self) -> tuple[float, float]:
        """Centre of the box, (x, y)."""
        box = self.box
        return box.x_px + box.width_px / 2, box.y_px + box.height_px / 2


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of an image is counted.

    Cells with the middle of their nucleus in `region` (pixels of level 0), sought in
    the smaller copy `level`, no more than `max_cells`; None is no limit.
    """

    region: Box | None = None
    level: int = 0
    max_cells: int | None = None


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model says of N patches, in the order of the patches.

    `probabilities` (N, K) in the order of the card's classes; `embeddings` (N, D);
    `novelty` (N,), the distance from the training cells; `orientation_rad` (N,) for
    models that give one.
    """

    probabilities: Floats
    embeddings: Floats
    novelty: Floats
    orientation_rad: Floats | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A cell of a frame with its class. `number` counts from 1 within the frame."""

    frame: str
    number: int
    cell: Cell
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    decision: Decision
    novelty: float
    orientation_rad: float | None = None


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What the report keeps of a frame; `warnings` are for the reader's eyes."""

    name: str
    sha256: str
    width_px: int
    height_px: int
    pixel_size: PixelSize
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that could not be analysed, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything needed to get the same report again.

    `confusion` holds how often the model took cells of a known class (rows, in the
    order of `class_names`) for each class (columns) in its validation; empty where the
    model's card does not say.
    """

    model: str
    model_sha256: str
    class_names: tuple[str, ...]
    provider: str
    versions: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    created: str  # ISO 8601, UTC
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """Classes that stem from one line of cells."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RatioRule:
    """A ratio by name, such as M:E; both sides are classes."""

    name: str
    above: tuple[str, ...]
    below: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a laboratory counts; classes in `excluded` are in no denominator.

    `precision_points` is half of the 95 % interval that the laboratory wants for every
    class, in percentage points.
    """

    excluded: tuple[str, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    ratios: tuple[RatioRule, ...] = ()
    precision_points: float = 2.0


@dataclass(frozen=True, slots=True)
class Correction:
    """A reviewer's word on one cell: `label` stands where `before` stood.

    The same label twice confirms a cell that was in doubt. `time` is ISO 8601, UTC.
    """

    frame: str
    number: int
    before: str
    label: str
    reviewer: str
    time: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result for one slide (an image, or a folder of frames).

    `corrections` are already in `findings`: a reviewed cell is accepted with a
    probability of 1 and has no runner-up.
    """

    name: str
    provenance: Provenance
    frames: tuple[FrameRecord, ...]
    findings: tuple[Finding, ...]
    failures: tuple[Failure, ...] = ()
    scheme: Scheme = Scheme()
    corrections: tuple[Correction, ...] = ()
