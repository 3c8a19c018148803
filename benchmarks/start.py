"""What a start without labels is worth, with 20 labels a class and with all of them.

    python -m benchmarks.start [--data ../shared/data/pbc] [--runs runs/start]

hnet-r2 first learns from all training cells by contrast, no label read. From there, and
from random weights, it is taught with 20 labels a class and with all. From the start,
20 labels teach jointly with all other cells, which stay unlabelled. With few labels no
validation label says when to stop; with all, the best epoch on val is kept. Test cells
are read once, at the end. A training that is finished in `--runs` is not done again,
one that was cut off goes on. It takes about three hours of one core; the network sees
the central 48 of 64 px. One seed, and one draw of the labels.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from cellrot_infer.files import make_folder, write_text
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.config import Config
from cellrot_train.data import load_patch_set
from cellrot_train.fit import fit_once
from cellrot_train.metrics import judge
from cellrot_train.readout import model_of_run, read_upright
from cellrot_train.run import load_run

RESULT = Path(__file__).parent / "results" / "start.json"
FEW = 20  # labels a class
BASE = Config(
    model="hnet-r2", side_px=64, view_px=48, device="cpu", precision="float32"
)
START = replace(
    BASE, objective="contrastive", rotate=False, balance=0.0, refit=False, epochs=12
)
FEW_LABELS = replace(BASE, labels_per_class=FEW, keep="last", refit=False)
TAUGHT: Mapping[str, Config] = {
    "few-start": replace(
        FEW_LABELS,
        objective="supervised+contrastive+consistency",
        labelled_share=0.25,
        rotate=False,
        epochs=4,
        learning_rate=1e-3,
    ),
    "few-alone": replace(FEW_LABELS, epochs=200),
    "all-start": replace(BASE, epochs=12, learning_rate=1e-3),
    "all-alone": replace(BASE, epochs=12),
}


def main() -> None:
    """Train what is not trained yet, measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pbc"))
    parser.add_argument("--runs", type=Path, default=Path("runs/start"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"skipped: no patches in {options.data}; name them with --data")
    data = str(options.data)
    start = fit_once(replace(START, data=data), root=options.runs, name="start").folder
    runs = {}
    for name, config in TAUGHT.items():
        init = "" if name.endswith("alone") else str(start)
        config = replace(config, data=data, init=init)
        runs[name] = fit_once(config, root=options.runs, name=name).folder
    patch_set = load_patch_set(options.data)
    cells = {split: labelled_cells(patch_set, split)[0] for split in ("val", "test")}
    rows = {name: figures(run, cells) for name, run in runs.items()}
    make_folder(options.out.parent)
    write_text(options.out, json.dumps(rows, indent=2) + "\n")
    for name, row in rows.items():
        print(f"{name:12s}", *(f"{key} {row[key]}" for key in ("val", "test")))


def figures(folder: Path, cells: Mapping[str, Cells]) -> dict[str, list[float]]:
    """Return the macro-F1 of a run on each of `cells`, with its interval."""
    run = load_run(folder)
    found: dict[str, list[float]] = {}
    for split, some in cells.items():
        model = model_of_run(run, torch.device("cpu"))
        seen = [read_upright(model, patches).classes() for _, patches in some.parts()]
        predicted = torch.cat([torch.from_numpy(part) for part in seen]).numpy()
        judged = judge(some.labels, predicted, len(some.class_names))
        estimate = judged.scores()["macro_f1"]
        found[split] = [round(value, 4) for value in estimate]
    return found


if __name__ == "__main__":
    main()
