"""Two processes train as one does."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cellrot_train import checkpoint


def trained(root: Path, processes: int) -> Path:
    """Train under torchrun and return the run's folder."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "-m", "cellrot_train", "fit",
        "--model", "hnet-r0", "--side-px", "32", "--width", "4", "--epochs", "1",
        "--objective", "joint+reconstruction", "--augment", "strong",
        "--labels-per-class", "5", "--batch-size", "32", "--device", "cpu",
        "--out", str(root), "--name", str(processes),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1") == 1  # one process speaks
    return root / f"{processes}-hnet-r0"


def losses(folder: Path) -> list[float]:
    with (folder / "history.csv").open(encoding="utf-8") as lines:
        return [float(row["loss"]) for row in csv.DictReader(lines)]


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs libuv there")
def test_two_processes_reach_the_loss_and_weights_of_one(tmp_path: Path) -> None:
    one, two = trained(tmp_path, 1), trained(tmp_path, 2)

    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    single, double = (checkpoint.load(run / "last.pt")["learner"] for run in (one, two))
    weights = [
        torch.cat([w.double().flatten() for w in run.values()])
        for run in (single, double)
    ]
    # as a whole: the optimiser takes a full step also where a gradient is rounding
    assert (weights[0] - weights[1]).norm() < 1e-3 * weights[0].norm()
