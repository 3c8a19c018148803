"""What the models must reach, beside what was measured of them.

Nothing is measured here: `knowledge` reads what `benchmarks.laboratories` found of one
model, `speeds` and `residence` what `benchmarks.edge` found.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SHARE = 0.2  # of the whole graph that may go into the pre-processing
PLAIN = {"hnet-r2": 0.9, "hnet-r0": 0.98}  # of the speed of a plain CNN
EIGHT_BITS = {"hnet-r2": 2.5, "hnet-r0": 3.5, "baseline": 3.5}  # times the float file
MEMORY_MIB = 286  # 300 MB
HEAD = """\
| what | must | measured | |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Target:
    """A measured value and its bound, a lower one unless `most`."""

    what: str
    value: float
    must: float
    most: bool = False
    interval: tuple[float, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the bound."""
        return self.value <= self.must if self.most else self.value >= self.must

    def row(self) -> str:
        """Return a table row."""
        bound = f"at {'most' if self.most else 'least'} {self.must:g}"
        value = f"{self.value:.3g}"
        if self.interval:
            value += " ({:.3g} to {:.3g})".format(*self.interval)
        verdict = "reached" if self.reached else "not reached"
        return f"| {self.what} | {bound} | {value} | {verdict} |"


def table(targets: Iterable[Target]) -> str:
    """Return the targets as a table."""
    return HEAD + "\n".join(target.row() for target in targets) + "\n"


def knowledge(found: Mapping[str, Any]) -> Iterator[Target]:
    """Yield what a model knows at home and elsewhere."""
    home = found["home"]
    f1, *interval = home["macro_f1"]
    yield Target("11 classes, macro-F1", f1, 0.91, interval=tuple(interval))
    accuracy, *interval = home["accuracy_8"]
    yield Target("8 classes, accuracy", accuracy, 0.98, interval=tuple(interval))
    loss = 100 * (f1 - found["turned"][0])
    what = "turned by any angle, points of macro-F1 lost"
    yield Target(what, loss, 0.2, most=True)
    error = home["calibration_error"]
    yield Target("expected calibration error", error, 0.02, most=True)
    yield Target("`accepted` cells, share", home["accepted"], 0.9)
    yield Target("`accepted` cells, accuracy", home["accepted_accuracy"], 0.99)
    worst = found["worst look over home"]
    yield Target("worst of eight laboratories, macro-F1 over home", worst, 0.9)
    yield Target("BCCD, balanced accuracy", found["bccd"]["balanced_accuracy"], 0.7)


def speeds(found: Mapping[str, Any], model: str) -> Iterator[Target]:
    """Yield how fast the files are; `model` is the one that is the default."""
    ratios = found["ratios"]
    for name, must in PLAIN.items():
        what = f"{name} over a plain CNN, network part"
        yield Target(what, ratios[what], must)
    for name, must in EIGHT_BITS.items():
        what = f"{name}, int8 over float, network part"
        yield Target(what, ratios[what], must)
    what = f"shipped {model} over ResNet-18"
    yield Target(f"{what} at 224 px, whole graph", ratios[what], 25)
    for name, share in ratios.items():
        if name.endswith("share of pre-processing"):
            yield Target(name, share, SHARE, most=True)


def residence(found: Mapping[str, Any]) -> Iterator[Target]:
    """Yield the memory and the start of the default model."""
    resident = found["resident_mib"]
    what = "10 000 cells in batches of 64, peak memory in MiB"
    yield Target(what, resident["peak"], MEMORY_MIB, most=True)
    growth = resident["after 10 000 cells"] / resident["after 500 cells"]
    yield Target("the same, after 10 000 cells over after 500", growth, 1.02, most=True)
    first = found["first_frame_over_tenth"]
    yield Target("first frame over the tenth, time", first, 1.1, most=True)
    yield Target("import and session, s", found["start_s"], 0.6, most=True)
