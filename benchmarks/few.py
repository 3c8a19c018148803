"""What 20 labels a class reach on features that were learned without any.

    python -m benchmarks.few RUN... [--data ../shared/data] [--split val]

From each RUN, ten draws of 20 labels a class among the training cells, the features
frozen: read by logistic regression, by the discriminant that `fit` takes for few
labels, and by that with the other training cells, whose labels are not read. Figures
are macro-F1 on the cells of the split, with intervals over runs and draws. Writes
benchmarks/results/few.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.leftout import part, untaught
from cellrot_infer.files import write_text
from cellrot_train.classifier import Classifier, fit_classifier
from cellrot_train.data import keep_labels, load_patch_set
from cellrot_train.discriminant import fit_discriminant
from cellrot_train.metrics import confusion, macro_f1
from cellrot_train.pixels import load_pixels
from cellrot_train.study.summary import over_seeds

RESULTS = Path(__file__).parent / "results" / "few.json"
FEW = 20  # labels a class
DRAWS = 10
L2 = 0.03  # of the regression, the best on val of 1e-4, 1e-3, 0.01, 0.03 and 0.1


def main() -> None:
    """Measure the runs, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("val", "test"), default="val")
    options = parser.parse_args()
    if not (options.data / "pbc").is_dir():
        sys.exit(f"skipped: {options.data / 'pbc'} is not here")
    draws = [
        draw
        for folder in options.runs
        for draw in measured(folder, options.data / "pbc", options.split)
    ]
    rows = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        parts = [values[n : n + DRAWS] for n in range(0, len(values), DRAWS)]
        rows[name] = [round(value, 4) for value in over_seeds(parts)]
    found = {"split": options.split, "runs": len(options.runs), "macro_f1": rows}
    write_text(RESULTS, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def measured(folder: Path, data: Path, split: str) -> Iterator[dict[str, float]]:
    """Yield the macro-F1 of each way to read the run in `folder`, draw after draw."""
    run = untaught(folder)
    patches = load_pixels(load_patch_set(data), run.config.side_px)
    (features, labels), asked = (part(run, patches, s) for s in ("train", split))
    train = patches.patch_set.indices("train")
    count = len(patches.patch_set.class_names)
    for draw in range(DRAWS):
        kept = keep_labels(patches.patch_set, FEW, draw).labels[train] >= 0
        few = torch.from_numpy(kept)
        taught, others = (features[few], labels[few]), features[~few]
        readers = {
            "logistic regression": fit_classifier(*taught, count, l2=L2),
            "discriminant": fit_discriminant(*taught, count),
            "discriminant, other cells help": fit_discriminant(*taught, count, others),
        }
        yield {name: judged(reader, *asked) for name, reader in readers.items()}


@torch.no_grad()
def judged(reader: Classifier, features: Tensor, labels: Tensor) -> float:
    """Return the macro-F1 of `reader` on features (N, F) of classes (N,)."""
    predicted = reader(features).argmax(dim=1)
    count = reader.linear.out_features
    return float(macro_f1(confusion(labels.numpy(), predicted.numpy(), count)))


if __name__ == "__main__":
    main()
