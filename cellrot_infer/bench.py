"""How many cells a second a model classifies on this machine."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellrot_infer.classify import Classifier
from cellrot_infer.devices import DeviceName, available_threads
from cellrot_infer.golden import golden_patches
from cellrot_infer.types import PATCH_SIDE_PX, Patches

BATCHES = (1, 8, 64)
SECONDS = 1.0  # a measurement, in several rounds, of which the fastest counts
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """Cells a second of one model with `threads` threads, at each of BATCHES."""

    model: str
    provider: str
    threads: int
    cells_per_s: tuple[float, ...]


def thread_counts() -> tuple[int, ...]:
    """Return 1, 2, 4 ... and the number of all processors of this process."""
    most = available_threads()
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return (*powers, most)


def measure_speeds(
    models: Sequence[Path],
    device: DeviceName = "auto",
    threads: Sequence[int] = (1,),
    seconds: float = SECONDS,
) -> Iterator[Speed]:
    """Yield the speed of each of `models` with each number of `threads`."""
    for model in models:
        for count in threads:
            classifier = Classifier.load(model, device=device, threads=count)
            speeds = (cells_per_second(classifier, size, seconds) for size in BATCHES)
            yield Speed(model.stem, classifier.provider, count, tuple(speeds))


def cells_per_second(classifier: Classifier, batch: int, seconds: float) -> float:
    """Return the speed at batches of `batch` cells, the fastest of some rounds.

    Whatever else the machine does only ever slows a round down.
    """
    patches = _patches(classifier, batch)
    classifier.classify(patches)
    return max(_round(classifier, patches, seconds / ROUNDS) for _ in range(ROUNDS))


def _round(classifier: Classifier, patches: Patches, seconds: float) -> float:
    started, cells = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not cells:
        classifier.classify(patches)
        cells += len(patches)
    return cells / passed


def _patches(classifier: Classifier, count: int) -> Patches:
    """Return `count` cells; real ones, where the card has some."""
    cells = golden_patches(classifier.card)
    if not len(cells):
        cells = np.full((1, PATCH_SIDE_PX, PATCH_SIDE_PX, 3), 200, np.uint8)
    return cells[np.arange(count) % len(cells)]
