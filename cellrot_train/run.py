"""A run folder: everything about one training, enough to go on or to export from.

runs/<name>-<model>/
  config.json      the settings, all of them
  data.json        the patch set: where, fingerprint, classes, counts, pixel size
  versions.json    what it was trained with
  history.csv      one row an epoch
  metrics.json     what the finished run reaches on the validation split
  last.pt          to go on with: weights, averaged weights, optimiser, step
  best.pt          to use: averaged weights of the best epoch and the classifier
"""

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from cellrot_infer.errors import DataError, OutputError
from cellrot_infer.files import write_text
from cellrot_train import checkpoint
from cellrot_train.classifier import blank_linear
from cellrot_train.config import Config
from cellrot_train.encoders import build_encoder
from cellrot_train.encoders.base import AutoEncoder

LAST, BEST = "last.pt", "best.pt"
CONFIG, DATA, METRICS = "config.json", "data.json", "metrics.json"


@dataclass(frozen=True)
class Run:
    """The folder of a run. Files appear in it by rename, when complete."""

    folder: Path

    @classmethod
    def create(cls, root: Path, name: str, config: Config) -> Self:
        """Make a folder under `root`, called by `name` or the time, and the model."""
        stem = name or f"{datetime.now():%Y%m%d-%H%M%S}"
        folder = root / f"{stem}-{config.model}"
        for number in range(2, 100):
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                folder = root / f"{stem}-{number}-{config.model}"
            except OSError as error:
                raise OutputError(
                    f"{folder}: cannot be made ({error.strerror})"
                ) from None
        run = cls(folder)
        run.write_json(CONFIG, config.to_dict())
        run.write_json("versions.json", versions())
        return run

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return Config.from_dict(self.read_json(CONFIG), str(self.folder / CONFIG))

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in the file `name`."""
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{self.folder}: no run (it has no {name})") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write `values` to the file `name`."""
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_text(self.folder / name, text)

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one row an epoch to history.csv."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / "history.csv", text.getvalue())


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, ready for use: what `load_run` gives.

    `encoder` and `classifier` are in eval mode on the CPU and hold the averaged weights
    of the best epoch. To classify bytes (N, 3, S, S) with S = config.side_px:

        images = Intake(config.network_px)(patches)
        logits = classifier(encoder.encode(images).features)

    `pixel_size_um` is that of the 256 px patch. `data` is data.json (`sha256`, `path`,
    `counts`, ...), `metrics` is metrics.json, `versions` those of the training.
    """

    folder: Path
    config: Config
    encoder: AutoEncoder
    classifier: nn.Linear
    class_names: tuple[str, ...]
    pixel_size_um: float
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str]


def load_run(path: Path) -> TrainedRun:
    """Return the trained run in the folder `path`.

    Raises DataError where it is no run, has no best checkpoint yet, or was written for
    another model or by another version.
    """
    run = Run(Path(path))
    config, data = run.config, run.read_json(DATA)
    if not (run.folder / BEST).exists():
        raise DataError(
            f"{run.folder}: the run has no {BEST} yet; go on with "
            f"`cellrot-train fit --resume {run.folder}`"
        )
    state = checkpoint.load(run.folder / BEST)
    encoder = new_encoder(config)
    classifier = blank_linear(encoder.feature_size, len(data["class_names"]))
    load_weights(encoder, state["encoder"], run.folder / BEST)
    load_weights(classifier, state["classifier"], run.folder / BEST)
    metrics = run.read_json(METRICS) if (run.folder / METRICS).exists() else {}
    return TrainedRun(
        run.folder,
        config,
        encoder.eval(),
        classifier.eval(),
        tuple(data["class_names"]),
        data["pixel_size_um"],
        data,
        metrics,
        run.read_json("versions.json"),
    )


def newest_run(root: Path) -> Path:
    """Return the folder under `root` of the run that was trained last."""
    found = [best.parent for best in Path(root).glob(f"*/{BEST}")]
    if not found:
        raise DataError(
            f"{root}: no trained run; train one with `cellrot-train fit --data DIR`"
        )
    return max(found, key=lambda folder: (folder / BEST).stat().st_mtime_ns)


def new_encoder(config: Config) -> AutoEncoder:
    """Return the encoder of `config` with random weights."""
    return build_encoder(
        config.model,
        side_px=config.network_px,
        width=config.width or None,
        embedding_size=config.embedding_size,
    )


def load_weights(module: nn.Module, weights: Mapping[str, Any], source: Path) -> None:
    """Put `weights` into `module`; raise DataError where they are of another model."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(
            f"{source}: the checkpoint is of another model or version ({reason})"
        ) from None


def versions() -> dict[str, str]:
    """Return the versions of what trains."""
    return {
        "cellrot": version("cellrot"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
