"""Whether a cell of a class that was never taught is noticed.

    python -m benchmarks.leftout RUN [--data ../shared/data] [--split val]

For each class in turn, the classifier and the novelty are fitted without its labels on
the frozen features of RUN. The figure is the area under the ROC curve that tells the
cells of that class from all others, by novelty, by doubt (1 - highest probability) and
by both together, as chances that an ordinary cell is as strange (Fisher 1925).
RUN must have learned without labels: its encoder would know the class else. Writes
benchmarks/results/leftout.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cellrot_infer.files import write_text
from cellrot_train.classifier import fit_classifier
from cellrot_train.data import load_patch_set
from cellrot_train.novelty import Novelty
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.readout import model_of_run, read_upright
from cellrot_train.run import TrainedRun, load_run

RESULTS = Path(__file__).parent / "results" / "leftout.json"
L2 = 1e-3


def main() -> None:
    """Measure one run, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("val", "test"), default="val")
    options = parser.parse_args()
    if not (options.data / "pbc").is_dir():
        sys.exit(f"skipped: {options.data / 'pbc'} is not here")
    run = untaught(options.run)
    patches = load_pixels(load_patch_set(options.data / "pbc"), run.config.side_px)
    known, asked = (part(run, patches, split) for split in ("train", options.split))
    rows = {
        name: told_apart(known, asked, k)
        for k, name in enumerate(patches.patch_set.class_names)
    }
    means = {
        key: float(np.mean([row[key] for row in rows.values()]))
        for key in ("novelty", "doubt", "together")
    }
    found = {"split": options.split, "mean": means, "classes": rows}
    write_text(RESULTS, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def untaught(folder: Path) -> TrainedRun:
    """Return the run in `folder`; stop where its encoder was taught the classes."""
    run = load_run(folder)
    if "supervised" in run.config.objective or run.config.init:
        sys.exit(f"{folder}: its encoder was taught the classes, expected none")
    return run


def part(run: TrainedRun, patches: Pixels, split: str) -> tuple[Tensor, Tensor]:
    """Return the features (N, F) and the classes (N,) of the labelled cells."""
    rows = patches.patch_set.indices(split)
    images = patches.images[torch.from_numpy(rows)].permute(0, 2, 3, 1)
    model = model_of_run(run, torch.device("cpu"))
    features = read_upright(model, images.contiguous().numpy())
    labels = torch.from_numpy(patches.patch_set.labels[rows])
    return torch.from_numpy(features.representations["features"]), labels


@torch.no_grad()
def told_apart(
    known: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor], left_out: int
) -> dict[str, float]:
    """Return how well the cells of class `left_out` are told from the others."""
    features, labels = (entry[known[1] != left_out] for entry in known)
    labels = labels - (labels > left_out).long()
    classes = int(labels.max()) + 1
    classifier = fit_classifier(features, labels, classes, l2=L2)
    strange = (asked[1] == left_out).numpy()
    sure = classifier(asked[0]).softmax(dim=1).max(dim=1).values
    novelty, doubt = Novelty.fit(features, labels)(asked[0]).numpy(), 1 - sure.numpy()
    scores = {
        "novelty": novelty,
        "doubt": doubt,
        "together": -np.log(chance(novelty)) - np.log(chance(doubt)),
    }
    areas = {key: float(roc_auc_score(strange, score)) for key, score in scores.items()}
    return {"cells": int(strange.sum()), **areas}


def chance(score: np.ndarray) -> np.ndarray:
    """Return how large a share of all cells has at least the score of each."""
    below = score.argsort().argsort()
    shares: np.ndarray = 1 - below / len(score)
    return shares


if __name__ == "__main__":
    main()
