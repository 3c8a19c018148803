"""The bodies of cells: what belongs to a nucleus, and what only touches it.

A cell is what is not empty glass and not a red cell, connected with its nucleus. Glass
is seen nearly always; whether the pixels of a neighbour are a red cell is not, where
its colour comes near to that of the cytoplasm. So several readings of a frame are
tried, the one that trusts colour least first, and each nucleus takes the first that
gives it a body as round as cells are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cellrot_infer import stain
from cellrot_infer.nuclei import find_lobes, nuclear_threshold
from cellrot_infer.redcells import (
    RedCells,
    learn_red_cells,
    looks_red,
    looks_red_beside,
    whole_red_cells,
)
from cellrot_infer.regions import (
    PIXEL_UM2,
    Components,
    Labels,
    Window,
    components,
    dilated,
    filled,
    nearest,
    opened,
    solidity,
)
from cellrot_infer.types import Floats, Mask

OFF_GLASS = 2.5  # standard deviations of the glass
REACH_UM = 8.0  # from the nucleus to the end of its cell
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


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a field tells of its own stain, so that parts of it are judged alike.

    The `noise` of its glass, the nuclear stain from which on nuclei are seen, and the
    look of its red cells, None where there are none.
    """

    noise: stain.Noise
    nuclear_threshold: float
    red_cells: RedCells | None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is known of a frame before its cells are told apart.

    All are (H, W): the `density` (of three colours), the total `dye`, cut off where it
    is nuclear, what is `dyed` at all, the number of the nearest lobe, `owner`, the way
    to it, `distance_um`, and what looks `red`. `lobes` are the pieces of nucleus,
    `noise` is that of the glass, and `red_cells` are None where none are seen.
    """

    density: Floats
    dye: Floats
    dyed: Mask
    owner: Labels
    distance_um: Floats
    red: Mask
    lobes: Components
    noise: stain.Noise
    red_cells: RedCells | None

    @property
    def nuclei(self) -> Mask:
        """Where nuclei are."""
        return self.lobes.labels > 0

    @property
    def ring(self) -> Mask:
        """What is dyed just outside of nuclei."""
        first_um, last_um = RING_UM
        ring = (self.distance_um > first_um) & (self.distance_um < last_um)
        return ring & self.dyed

    @property
    def red_discs(self) -> Mask:
        """What is red and as large as a red cell."""
        discs = opened(self.red, RED_CELL_UM)
        return dilated(discs, RED_RIM_UM) & self.red


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One opinion on what is cell, and how round a body must be to be believed.

    A body that holds more than a scrap of `doubtful` is not.
    """

    cells: Mask
    round_from: float
    doubtful: Mask | None = None


def calibrate(density: Floats) -> Calibration:
    """Return what a field of this optical density, (H, W, 3), tells of its stain."""
    score = stain.nuclear_stain(density)
    threshold = nuclear_threshold(score)
    scene = survey(density, find_lobes(score, threshold))
    return Calibration(scene.noise, threshold, scene.red_cells)


def survey(
    density: Floats, lobes: Components, known: Calibration | None = None
) -> Scene:
    """Return what can be said of a frame with these `lobes` of nuclei.

    What is not `known` of its stain is learnt from the frame.
    """
    nuclei = lobes.labels > 0
    noise = known.noise if known else stain.glass_noise(density)
    dyed = nuclei | (stain.distance_from_glass(density, noise) > OFF_GLASS)
    owner, distance_um = nearest(lobes.labels)
    if known:
        red_cells = known.red_cells
    else:
        red_cells = learn_red_cells(density, dyed, nuclei, distance_um)
    red = np.zeros_like(nuclei)
    if red_cells:
        red = looks_red(density, red_cells, nuclei)
    dye = np.minimum(stain.total_dye(density), np.float32(FULL_DYE))
    return Scene(density, dye, dyed, owner, distance_um, red, lobes, noise, red_cells)


def find_bodies(scene: Scene) -> Mask:
    """Return where cells are, each with its nucleus; those that touch are not split."""
    bodies = scene.nuclei
    waiting = [int(n) for n in np.flatnonzero(scene.lobes.areas_um2) if n]
    roundest: dict[int, tuple[float, Window, Mask]] = {}
    for reading in _readings(scene, waiting):
        parts = components(_trimmed(reading.cells, scene))
        for number in tuple(waiting):
            body = _body_of(number, parts, scene.lobes)
            roundness = _roundness(parts, body, reading)
            window = parts.window(body)
            mask = parts.labels[window] == body
            if roundness > reading.round_from:
                bodies[window] |= mask
                waiting.remove(number)
            elif roundness > roundest.get(number, (-1.0,))[0]:
                roundest[number] = roundness, window, mask
    for number in waiting:
        _, window, mask = roundest[number]
        bodies[window] |= mask
    return bodies


def _readings(scene: Scene, waiting: Sequence[int]) -> Iterator[Reading]:
    """Yield readings of the frame; `waiting` are the lobes that still need one."""
    usual = _usual_dye(scene)
    edge = scene.distance_um < EDGE_UM
    faint = scene.dyed & ((scene.dye > FAINT_SHARE * usual) | edge)
    discs = scene.red_discs
    coloured = _share_of_red(scene) < RED_RING
    yield Reading(faint, ROUND, discs & coloured[scene.owner])
    if scene.red_cells and waiting:
        red = _red_beside(scene, scene.red_cells, discs, waiting)
        yield Reading(faint & ~red & ~discs, FAIRLY_ROUND)
    if waiting:
        strong = scene.dyed & ((scene.dye > STRONG_SHARE * usual) | edge)
        yield Reading(strong & ~discs, ROUND)
    if scene.red_cells and waiting:
        yield Reading(faint & ~discs, FAIRLY_ROUND)


def _usual_dye(scene: Scene) -> Floats:
    """Return the dye of the cytoplasm of the nearest lobe, (H, W), in decades."""
    usual = np.full(len(scene.lobes), USUAL_DYE, np.float32)
    cytoplasm = scene.ring & ~scene.red
    for number in range(1, len(scene.lobes)):
        window = scene.lobes.window(number, RING_UM[1])
        own = cytoplasm[window] & (scene.owner[window] == number)
        if np.count_nonzero(own) >= LEAST_RING_PX:
            usual[number] = np.median(scene.dye[window][own])
    return usual[scene.owner]


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
    for number in waiting:
        window = scene.lobes.window(number, REACH_UM)
        own = scene.owner[window] == number
        ring = all_rings[window] & own
        cytoplasm = ring & ~scene.red[window]
        if np.count_nonzero(cytoplasm) < RED_RING * np.count_nonzero(ring):
            cytoplasm = ring & ~discs[window]
        judged = looks_red_beside(scene.density[window], red_cells, cytoplasm)
        if judged is not None:
            red[window] = np.where(own, judged, red[window])
    return whole_red_cells(red, scene.nuclei)


def _trimmed(cells: Mask, scene: Scene) -> Mask:
    """Return `cells` near nuclei without threads, holes and what hangs on a neck."""
    nuclei = scene.nuclei
    trimmed = opened(cells & (scene.distance_um < REACH_UM), THREAD_UM) | nuclei
    trimmed = filled(trimmed, VACUOLES_UM2)
    return without_necks(trimmed, nuclei)


def without_necks(cells: Mask, nuclei: Mask) -> Mask:
    """Return what of `cells` is near to wide parts of them or to `nuclei`."""
    return cells & dilated(opened(cells, NECK_UM) | nuclei, NECK_REST_UM)


def _body_of(lobe: int, parts: Components, lobes: Components) -> int:
    """Return the number of the part of which a lobe is a part."""
    window = lobes.window(lobe)
    inside = lobes.labels[window] == lobe
    return int(parts.labels[window][inside][0])


def _roundness(parts: Components, body: int, reading: Reading) -> float:
    """Return the solidity of a body, 0 where it cannot be one cell or hides others."""
    if parts.areas_um2[body] > LARGEST_UM2:
        return 0.0
    window = parts.window(body)
    mask = parts.labels[window] == body
    if reading.doubtful is not None:
        hidden = np.count_nonzero(reading.doubtful[window] & mask)
        if hidden * PIXEL_UM2 > HIDDEN_RED_UM2:
            return 0.0
    return solidity(opened(np.pad(mask, 8), BORDER_UM))
