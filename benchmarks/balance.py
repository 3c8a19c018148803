"""Which class balance of the batches learns most: as cells come, all equal, between?

    python -m benchmarks.balance [--data ../shared/data/pbc] [--cells 600] [--seeds 3]

A small network learns from a few cells of the natural, unequal frequencies, once for
each balance and seed, and is judged on the validation split. What one choice is worth
is to be seen against the spread of the seeds.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cellrot_infer.files import make_folder, write_text
from cellrot_train.config import Config
from cellrot_train.data import load_patch_set
from cellrot_train.display import Silent
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.run import METRICS, Run
from cellrot_train.sampling import ALONE
from cellrot_train.training import Training

RESULT = Path(__file__).parent / "results" / "balance.json"
BALANCES = (0.0, 0.5, 1.0)
MEASURES = ("val_macro_f1", "val_accuracy")
SMALL = Config(
    model="hnet-r0", side_px=64, width=8, epochs=6, keep="last", device="cpu"
)


def main() -> None:
    """Train, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pbc"))
    parser.add_argument("--cells", type=int, default=600, help="Of train and of val.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"skipped: no patches in {options.data}; name them with --data")
    pixels = some_cells(options.data, options.cells)
    rows = []
    for balance in BALANCES:
        runs = [score(pixels, balance, seed) for seed in range(options.seeds)]
        rows.append({"balance": balance, **summary(runs)})
        print(rows[-1], flush=True)
    result = {"cells": options.cells, "seeds": options.seeds, "rows": rows}
    make_folder(options.out.parent)
    write_text(options.out, json.dumps(result, indent=2) + "\n")


def some_cells(data: Path, count: int) -> Pixels:
    """Return random cells of the training and of the validation split."""
    patch_set, chance = load_patch_set(data), np.random.default_rng(0)
    rows = [
        chance.permutation(patch_set.indices(split))[:count]
        for split in ("train", "val")
    ]
    return load_pixels(patch_set.subset(np.concatenate(rows)), SMALL.side_px)


def score(pixels: Pixels, balance: float, seed: int) -> dict[str, float]:
    """Return the validation figures of one training."""
    config = replace(SMALL, balance=balance, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        training = Training(run, config, pixels, torch.device("cpu"), ALONE)
        training.start()
        training.finish(Silent())
        return run.read_json(METRICS)


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return mean and standard deviation over the seeds."""
    found = {}
    for name in MEASURES:
        values = [run[name] for run in runs]
        found[f"{name}_mean"] = statistics.mean(values)
        found[f"{name}_deviation"] = statistics.stdev(values)
    return found


if __name__ == "__main__":
    main()
