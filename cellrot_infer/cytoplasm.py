"""The bodies of cells: what belongs to a nucleus, and what only touches it.

A cell is what is not empty glass and not a red cell, connected with its nucleus. Glass
is seen nearly always; whether the pixels of a neighbour are a red cell is not, where
its colour comes near to that of the cytoplasm. So several readings of a frame are
tried, the one that trusts colour least first, and each nucleus takes the first that
gives it a body as round as cells are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cellrot_infer import stain
from cellrot_infer.nuclei import find_lobes, nuclear_threshold
from cellrot_infer.redcells import (
    STEP,
    RedCells,
    learn_red_cells,
    looks_red,
    looks_red_beside,
    red_surprise,
    whole_red_cells,
)
from cellrot_infer.regions import (
    PIXEL_UM2,
    Components,
    Labels,
    Window,
    bounds,
    components,
    dilated,
    eroded,
    filled,
    nearest,
    neighbourhoods,
    opened,
    padded,
    solidity,
    within,
)
from cellrot_infer.types import Floats, Mask, StainColours

OFF_GLASS = 2.5  # standard deviations of the glass
REACH_UM = 8.0  # from the nucleus to the end of its cell
MARGIN_UM = REACH_UM + 2.0
RING_UM = (0.5, 1.6)  # from the nucleus; what is there is cytoplasm if any is
EDGE_UM = 0.6  # around a nucleus, where its blur hides the cytoplasm
FULL_DYE = 0.6  # decades; more than this is nucleus, out of focus
USUAL_DYE = 0.3
FAINT_SHARE = 0.35  # of the dye around the nucleus; less is glass or a ghost
STRONG_SHARE = 0.65
THREAD_UM = 0.6  # what is thinner than twice this is no cytoplasm
NECK_UM = 1.6  # what hangs on a neck thinner than twice this is another object
NECK_REST_UM = 0.8
BORDER_UM = 1.0
VACUOLES_UM2 = 40.0
LARGEST_UM2 = 400.0
ROUND, FAIRLY_ROUND = 0.93, 0.90  # solidity
RED_CELL_UM = 2.6  # a disc of this radius fits into red cells, not beside a nucleus
RED_RIM_UM = 1.0
RED_RING = 0.35  # of the ring red; less, and red cells can be told by their colour
HIDDEN_RED_UM2 = 20.0
LEAST_RING_PX = 16
BLUR_REACH_UM = 1.6  # what is further away has no part in the likelihood of a pixel


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a field tells of its own stain, so that parts of it are judged alike.

    The `noise` of its glass, the nuclear stain from which on nuclei are seen, the
    typical density (3,) of nuclei, and the look of its red cells, None where there are
    none.
    """

    noise: stain.Noise
    nuclear_threshold: float
    nuclear_density: Floats
    red_cells: RedCells | None

    @property
    def colours(self) -> StainColours | None:
        """The colours of the stain, None where no red cells are seen."""
        length = float(np.linalg.norm(self.nuclear_density))
        if self.red_cells is None or not length:
            return None
        nuclei = self.nuclear_density / length
        return StainColours(tuple(self.red_cells.axis.tolist()), tuple(nuclei.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is known of a part of a frame before its cells are told apart.

    All are (H, W): the `density` (of three colours), what is `dyed` at all, the number
    of the nearest lobe, `owner`, the way to it, `distance_um`, the dye as a `share` of
    that of the owner's cytoplasm, what looks `red`, and the `red_discs` in it as large
    as a red cell. `lobes` are the pieces of nucleus and `red_cells` None where none are
    seen.
    """

    density: Floats
    dyed: Mask
    owner: Labels
    distance_um: Floats
    share: Floats
    red: Mask
    red_discs: Mask
    lobes: Components
    red_cells: RedCells | None

    @property
    def nuclei(self) -> Mask:
        """Where nuclei are."""
        return self.lobes.labels > 0

    @property
    def ring(self) -> Mask:
        """What is dyed just outside of nuclei."""
        return _ring(self.dyed, self.distance_um)

    def stained(self, share: float) -> Mask:
        """Return what has this share of the dye of cytoplasm, and edges of nuclei."""
        return self.dyed & ((self.share > share) | (self.distance_um < EDGE_UM))

    def part(self, window: Window) -> "Scene":
        """Return what lies in `window`; lobes keep their numbers."""
        return Scene(
            self.density[window],
            self.dyed[window],
            self.owner[window],
            self.distance_um[window],
            self.share[window],
            self.red[window],
            self.red_discs[window],
            self.lobes.part(window),
            self.red_cells,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One opinion on what is cell, and how round a body must be to be believed.

    A body that holds more than a scrap of `doubtful` is not.
    """

    cells: Mask
    round_from: float
    doubtful: Mask | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """What a reading takes for the cell of a lobe, and how round that is."""

    window: Window
    mask: Mask
    roundness: float


def calibrate(density: Floats) -> Calibration:
    """Return what a field of this optical density, (H, W, 3), tells of its stain."""
    score = stain.nuclear_stain(density)
    threshold = nuclear_threshold(score)
    return calibrated(density, threshold, find_lobes(score, threshold))


def calibrated(density: Floats, threshold: float, lobes: Components) -> Calibration:
    """Return the same of a field whose nuclei are known."""
    noise = stain.glass_noise(density)
    sample = np.ascontiguousarray(density[::STEP, ::STEP])
    nuclei = np.ascontiguousarray(lobes.labels[::STEP, ::STEP] > 0)
    dyed = nuclei | stain.off_glass(sample, noise, OFF_GLASS)
    typical = np.median(sample[nuclei], axis=0) if nuclei.any() else np.zeros(3)
    red_cells = learn_red_cells(sample, dyed, nuclei)
    return Calibration(noise, threshold, typical.astype(np.float32), red_cells)


def survey(density: Floats, lobes: Components, known: Calibration) -> Scene:
    """Return what can be said of a part of a frame with these `lobes` of nuclei."""
    nuclei = lobes.labels > 0
    dyed = nuclei | stain.off_glass(density, known.noise, OFF_GLASS)
    owner, distance_um = nearest(lobes.labels)
    red = np.zeros_like(nuclei)
    discs = red
    if known.red_cells:
        red = looks_red(density, known.red_cells, nuclei)
        discs = dilated(opened(red, RED_CELL_UM), RED_RIM_UM) & red
    dye = np.minimum(stain.total_dye(density), np.float32(FULL_DYE))
    cytoplasm = _ring(dyed, distance_um) & ~red
    usual = _usual_dye(dye, cytoplasm, owner, lobes)
    share = np.asarray(dye / usual[owner], np.float32)
    return Scene(
        density, dyed, owner, distance_um, share, red, discs, lobes, known.red_cells
    )


def find_bodies(scene: Scene) -> Mask:
    """Return where cells are, each with its nucleus; those that touch are not split."""
    bodies = scene.nuclei
    first = _bodies_in(scene, _whole_reading(scene), range(1, len(scene.lobes)))
    unsettled = {}
    for number, body in first.items():
        if body.roundness > ROUND:
            bodies[body.window] |= body.mask
        else:
            unsettled[number] = scene.lobes.window(number, MARGIN_UM)
    for window, numbers in neighbourhoods(unsettled):
        closer = _closer_bodies(scene.part(window), numbers)
        for number, body in closer.items():
            if body.roundness > first[number].roundness:
                place = within(window, body.window)
            else:
                place, body = first[number].window, first[number]
            bodies[place] |= body.mask
    return bodies


def _closer_bodies(scene: Scene, lobes: Sequence[int]) -> dict[int, Body]:
    """Return the bodies of lobes that are not round when all that is dyed is cell.

    The first that is round enough for its reading, else the roundest.
    """
    waiting, roundest = list(lobes), dict[int, Body]()
    for reading in _closer_readings(scene, waiting):
        for number, body in _bodies_in(scene, reading, tuple(waiting)).items():
            if number not in roundest or body.roundness > roundest[number].roundness:
                roundest[number] = body
            if body.roundness > reading.round_from:
                roundest[number] = body
                waiting.remove(number)
    return roundest


def _bodies_in(scene: Scene, reading: Reading, lobes: Iterable[int]) -> dict[int, Body]:
    """Return the body of each of some lobes in a reading."""
    parts = components(_trimmed(reading.cells, scene))
    bodies: dict[int, Body] = {}
    of_part: dict[int, Body] = {}
    for lobe in lobes:
        part = _part_of(lobe, parts, scene.lobes)
        if part not in of_part:
            window = parts.window(part)
            mask = parts.labels[window] == part
            roundness = _roundness(mask, window, reading)
            of_part[part] = Body(window, mask, roundness)
        bodies[lobe] = of_part[part]
    return bodies


def _whole_reading(scene: Scene) -> Reading:
    """Return the reading that takes for cell all that is dyed.

    Red cells are doubtful where they can be told by their colour.
    """
    told = _share_of_red(scene) < RED_RING
    doubtful = scene.red_discs & told[scene.owner]
    return Reading(scene.stained(FAINT_SHARE), ROUND, doubtful)


def _closer_readings(scene: Scene, waiting: Sequence[int]) -> Iterator[Reading]:
    """Yield other readings; `waiting` are the lobes that still need one."""
    faint, discs = scene.stained(FAINT_SHARE), scene.red_discs
    if scene.red_cells and waiting:
        red = _red_beside(scene, scene.red_cells, discs, waiting)
        yield Reading(faint & ~red & ~discs, FAIRLY_ROUND)
    if waiting:
        yield Reading(scene.stained(STRONG_SHARE) & ~discs, ROUND)
    if scene.red_cells and waiting:
        yield Reading(faint & ~discs, FAIRLY_ROUND)


def _usual_dye(
    dye: Floats, cytoplasm: Mask, owner: Labels, lobes: Components
) -> Floats:
    """Return the dye of the cytoplasm of each lobe, in decades."""
    usual: Floats = np.full(len(lobes), USUAL_DYE, np.float32)
    for number in range(1, len(lobes)):
        window = lobes.window(number, RING_UM[1])
        own = cytoplasm[window] & (owner[window] == number)
        if np.count_nonzero(own) >= LEAST_RING_PX:
            usual[number] = np.median(dye[window][own])
    return usual


def _ring(dyed: Mask, distance_um: Floats) -> Mask:
    first_um, last_um = RING_UM
    return dyed & (distance_um > first_um) & (distance_um < last_um)


def _share_of_red(scene: Scene) -> Floats:
    """Return for each lobe how much of its ring looks red."""
    count = len(scene.lobes)
    ring = scene.ring
    all_around = np.bincount(scene.owner[ring], minlength=count)
    red = np.bincount(scene.owner[ring & scene.red], minlength=count)
    return (red / np.maximum(all_around, 1)).astype(np.float32)


def _red_beside(
    scene: Scene, red_cells: RedCells, discs: Mask, waiting: Sequence[int]
) -> Mask:
    """Return what is red, judged for each lobe by the colour of its own cytoplasm."""
    red, all_rings = scene.red.copy(), scene.ring
    near = scene.dyed & (scene.distance_um < REACH_UM)
    surprise = red_surprise(scene.density, red_cells)
    for number in waiting:
        window = scene.lobes.window(number, REACH_UM)
        own = near[window] & (scene.owner[window] == number)
        window = within(window, bounds(own, BLUR_REACH_UM))
        own = near[window] & (scene.owner[window] == number)
        ring = all_rings[window] & own
        cytoplasm = ring & ~scene.red[window]
        if np.count_nonzero(cytoplasm) < RED_RING * np.count_nonzero(ring):
            cytoplasm = ring & ~discs[window]
        judged = looks_red_beside(scene.density[window], surprise[window], cytoplasm)
        if judged is not None:
            red[window] = np.where(own, judged, red[window])
    return whole_red_cells(red, scene.nuclei)


def _trimmed(cells: Mask, scene: Scene) -> Mask:
    """Return `cells` near nuclei without threads, holes and what hangs on a neck."""
    nuclei = scene.nuclei
    trimmed = opened(cells & (scene.distance_um < REACH_UM), THREAD_UM) | nuclei
    trimmed = filled(trimmed, VACUOLES_UM2)
    return without_necks(trimmed, scene.distance_um <= NECK_REST_UM)


def without_necks(cells: Mask, beside: Mask) -> Mask:
    """Return what of `cells` is near to wide parts of them or `beside` nuclei."""
    wide = dilated(eroded(cells, NECK_UM), NECK_UM + NECK_REST_UM)
    return cells & (wide | beside)


def _part_of(lobe: int, parts: Components, lobes: Components) -> int:
    """Return the number of the part in which a lobe is."""
    window = lobes.window(lobe)
    inside = lobes.labels[window] == lobe
    return int(parts.labels[window][inside][0])


def _roundness(mask: Mask, window: Window, reading: Reading) -> float:
    """Return the solidity of a body, 0 where it cannot be one cell or hides others."""
    if np.count_nonzero(mask) * PIXEL_UM2 > LARGEST_UM2:
        return 0.0
    if reading.doubtful is not None:
        hidden = np.count_nonzero(reading.doubtful[window] & mask)
        if hidden * PIXEL_UM2 > HIDDEN_RED_UM2:
            return 0.0
    return solidity(opened(padded(mask, 8), BORDER_UM))
