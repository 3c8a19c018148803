"""One training from settings to a finished run; composes, computes nothing itself."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cellrot_infer.errors import DataError, DeviceError
from cellrot_train import checkpoint
from cellrot_train.classifier import fit_classifier
from cellrot_train.config import Config
from cellrot_train.data import PatchSet, keep_labels, load_patch_set, with_unlabelled
from cellrot_train.loop import Step, average, build_optimizer, cosine, train
from cellrot_train.objectives import UNLABELLED, Learner, parse_objective
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.run import BEST, DATA, LAST, METRICS, Run, new_encoder
from cellrot_train.sampling import Feed, Plan, draws
from cellrot_train.validation import features_of, score

Row = dict[str, float]


class Display(Protocol):
    """Hears what happens during a training."""

    def note(self, text: str) -> None:
        """Hear something worth a line."""

    def started(self, steps: int, batch_size: int) -> None:
        """Hear how long the training is."""

    def step(self, step: Step) -> None:
        """Hear of one step."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Hear of one epoch, a row of history.csv."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None: ...
    def started(self, steps: int, batch_size: int) -> None: ...
    def step(self, step: Step) -> None: ...
    def epoch(self, row: Mapping[str, float]) -> None: ...


def fit(
    config: Config,
    *,
    root: Path = Path("runs"),
    name: str = "",
    cache: Path | None = None,
    show: Display | None = None,
) -> Run:
    """Train as `config` says, in a new folder under `root`; return the finished run.

    `cache` keeps the decoded patches, see `load_pixels`.
    """
    show = show or Silent()
    device = choose_device(config.device)
    pixels = read_data(config, cache, show)
    run = Run.create(root, name, config)
    run.write_json(DATA, describe(pixels, config))
    training = Training.start(run, config, pixels, device)
    return training.finish(show)


def read_data(config: Config, cache: Path | None, show: Display) -> Pixels:
    """Return the patches that `config` names, with the labels that it keeps."""
    if not config.data:
        raise DataError("no patches: give --data DIR")
    patch_set = load_patch_set(Path(config.data))
    if config.labels_per_class:
        patch_set = keep_labels(patch_set, config.labels_per_class, config.seed)
    if config.unlabelled:
        patch_set = with_unlabelled(patch_set, load_patch_set(Path(config.unlabelled)))
    _refuse_unlabelled(patch_set, config)
    pixels = load_pixels(patch_set, config.side_px, cache)
    for file, reason in pixels.unreadable:
        show.note(f"left out {file}: {reason}")
    return pixels


def _refuse_unlabelled(patch_set: PatchSet, config: Config) -> None:
    if "supervised" in parse_objective(config.objective) and not patch_set.class_names:
        raise DataError(
            f"{patch_set.root}: has no labels, which --objective {config.objective} "
            "needs; try --objective reconstruction or contrastive"
        )


def describe(pixels: Pixels, config: Config) -> dict[str, Any]:
    """Return what a run keeps of its data."""
    patch_set = pixels.patch_set
    counts = {
        split: len(patch_set.indices(split)) for split in ("train", "val", "test")
    }
    return {
        "path": str(patch_set.root.resolve()),
        "sha256": pixels.sha256,
        "class_names": list(patch_set.class_names),
        "counts": counts,
        "pixel_size_um": pixels.pixel_size_um(config.pixel_size_um),
        "unreadable": dict(pixels.unreadable),
    }


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where it works, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device is {name!r}, expected auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"--device {name}: no CUDA device works here; try --device cpu"
        )
    return device


@dataclass
class Training:
    """A training on its way: everything that a checkpoint holds, and the data."""

    run: Run
    config: Config
    pixels: Pixels
    learner: Learner
    mean: Learner
    optimizer: torch.optim.Optimizer
    feed: Feed
    history: list[Row]
    best: float = -torch.inf
    done: int = 0  # steps

    @classmethod
    def start(
        cls, run: Run, config: Config, pixels: Pixels, device: torch.device
    ) -> "Training":
        """Return a training before its first step."""
        torch.manual_seed(config.seed)
        patch_set = pixels.patch_set
        learner = Learner(new_encoder(config), len(patch_set.class_names), config)
        learner.to(device)
        labels = torch.from_numpy(patch_set.labels)
        train_rows = torch.zeros(len(patch_set), dtype=torch.bool)
        train_rows[torch.from_numpy(patch_set.indices("train"))] = True
        weights = draws(labels, train_rows, config)
        plan = Plan(weights, config.batch_size, config.seed)
        feed = Feed(pixels.images, labels, plan, config, device)
        first = pixels.images[plan.rows(0)]
        learner.classifier.standardise(features_of(learner, first, device))
        optimizer = build_optimizer(learner, config.learning_rate, config.weight_decay)
        return cls(
            run, config, pixels, learner, copy.deepcopy(learner), optimizer, feed, []
        )

    @property
    def epochs(self) -> int:
        """Passes over the data: as set, or by the size of the data."""
        if self.config.epochs:
            return self.config.epochs
        seen = self.feed.plan.steps_per_epoch * self.feed.plan.batch_size
        return min(60, max(20, 200_000 // max(1, seen)))

    def finish(self, show: Display) -> Run:
        """Train to the end, epoch by epoch, and return the run."""
        per_epoch = self.feed.plan.steps_per_epoch
        total = per_epoch * self.epochs
        config = self.config
        show.started(total, self.feed.plan.batch_size)
        warmup = round(config.warmup_epochs * per_epoch)
        losses: list[float] = []
        for step in train(
            self.learner,
            self.optimizer,
            self.feed.batches(self.done, total),
            rate=cosine(config.learning_rate, warmup, total),
            max_grad_norm=config.max_grad_norm,
            start=self.done,
        ):
            average(self.mean, self.learner, config.ema_decay, step.index)
            losses.append(step.loss)
            self.done = step.index + 1
            show.step(step)
            if self.done % per_epoch == 0:
                self._end_epoch(sum(losses) / len(losses), show)
                losses.clear()
        self._conclude()
        return self.run

    def _end_epoch(self, loss: float, show: Display) -> None:
        row = {"epoch": self.done // self.feed.plan.steps_per_epoch, "loss": loss}
        row |= self._validate()
        self.history.append(row)
        show.epoch(row)
        quality = row.get("val_macro_f1", -loss)
        if quality >= self.best:
            self.best = quality
            checkpoint.save(self.run.folder / BEST, _usable(self.mean))
        checkpoint.save(self.run.folder / LAST, self.state())
        self.run.write_history(self.history)

    def _validate(self) -> Row:
        rows = self._labelled("val")
        if not len(rows):
            return {}
        features = features_of(self.mean, self.pixels.images[rows], self.feed.device)
        with torch.inference_mode():
            scores = score(self.mean.classifier(features).cpu(), self.feed.labels[rows])
        return {"val_macro_f1": scores.macro_f1, "val_accuracy": scores.accuracy}

    def _labelled(self, split: str) -> Tensor:
        rows = torch.from_numpy(self.pixels.patch_set.indices(split))
        return rows[self.feed.labels[rows] != UNLABELLED]

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on as if nothing had happened."""
        return {
            "learner": self.learner.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
            "done": self.done,
        }

    def _conclude(self) -> None:
        """Give the run its final classifier and figures."""
        state = checkpoint.load(self.run.folder / BEST, self.feed.device)
        self.mean.encoder.load_state_dict(state["encoder"])
        rows = self._labelled("train")
        if "supervised" not in self.learner.weights and len(rows):
            device = self.feed.device
            features = features_of(self.mean, self.pixels.images[rows], device)
            labels = self.feed.labels[rows].to(device)
            classes = len(self.pixels.patch_set.class_names)
            self.mean.classifier = fit_classifier(features, labels, classes)
            checkpoint.save(self.run.folder / BEST, _usable(self.mean))
            metrics = self._validate()
        else:
            metrics = max(self.history, key=lambda row: row.get("val_macro_f1", -1))
        self.run.write_json(METRICS, {"epochs": len(self.history), **metrics})


def _usable(learner: Learner) -> dict[str, Any]:
    """Return what best.pt holds."""
    return {
        "encoder": learner.encoder.state_dict(),
        "classifier": learner.classifier.folded().state_dict(),
    }
