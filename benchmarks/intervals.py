"""Do the intervals of the differential hold the truth 95 times in 100?

    python -m benchmarks.intervals [--slides 200] [--out benchmarks/results/...]

Slides are simulated: a true composition, a classifier with known rates of confusion, a
validation of it, and the count that it gives. For each of several settings the table
says how often the true share of a class lies in Wilson's interval, and how often in the
one that carries the classifier's confusion.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellrot_infer.files import make_folder, write_text
from cellrot_infer.intervals import classifier_intervals, wilson

RESULT = Path(__file__).parent / "results" / "intervals.json"
MARROW = (0.22, 0.2, 0.12, 0.1, 0.09, 0.08, 0.07, 0.06, 0.03, 0.02, 0.01)
BLOOD = (0.58, 0.3, 0.07, 0.03, 0.015, 0.005)


class Setting(NamedTuple):
    """What is simulated; `accuracy` is the classifier's, on cells of every class."""

    composition: tuple[float, ...]
    accuracy: float
    validation_cells_a_class: int
    cells: int


SETTINGS = (
    Setting(MARROW, 0.95, 160, 200),
    Setting(MARROW, 0.95, 160, 500),
    Setting(MARROW, 0.85, 160, 500),
    Setting(BLOOD, 0.98, 160, 200),
    Setting(BLOOD, 0.9, 60, 200),
)


def main() -> None:
    """Simulate, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = [{**s._asdict(), **coverage(s, options.slides)} for s in SETTINGS]
    make_folder(options.out.parent)
    result = {"slides": options.slides, "rows": rows}
    write_text(options.out, json.dumps(result, indent=2) + "\n")
    print("classes accuracy validated cells   Wilson  rarest   with confusion  rarest")
    for row in rows:
        print(
            f"{len(row['composition']):7d} {row['accuracy']:8.2f} "
            f"{row['validation_cells_a_class']:9d} {row['cells']:5d} "
            f"{row['wilson']:8.3f} {row['wilson_rarest']:7.3f} "
            f"{row['classifier']:16.3f} {row['classifier_rarest']:7.3f}"
        )


def coverage(setting: Setting, slides: int) -> dict[str, float]:
    """Return how often each interval held the truth: in all classes, in the rarest."""
    rng = np.random.default_rng(0)
    truth = np.array(setting.composition)
    rates = confusion_rates(len(truth), setting.accuracy)
    carried, plain = [], []
    for _ in range(slides):
        named = rng.multinomial(rng.multinomial(setting.cells, truth), rates).sum(0)
        validated = [setting.validation_cells_a_class] * len(truth)
        carried.append(classifier_intervals(named, rng.multinomial(validated, rates)))
        plain.append([wilson(int(count), setting.cells) for count in named])
    held = {"wilson": holds(plain, truth), "classifier": holds(carried, truth)}
    means = {name: float(hits.mean()) for name, hits in held.items()}
    rarest = {
        f"{name}_rarest": float(hits[:, -1].mean()) for name, hits in held.items()
    }
    return {**means, **rarest}


def confusion_rates(classes: int, accuracy: float) -> NDArray[np.float64]:
    """Return rates of naming, rows the truth, errors spread over the other classes."""
    rates = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(rates, accuracy)
    return rates


def holds(found: list, truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each interval holds the truth, (slides, classes)."""
    ends = np.array(found)
    return np.asarray((ends[..., 0] <= truth) & (truth <= ends[..., 1]))


if __name__ == "__main__":
    main()
