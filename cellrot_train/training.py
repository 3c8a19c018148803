"""A training on its way: what a checkpoint holds, the data, and the turn of epochs."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cellrot_infer.errors import CellrotError, OutputError
from cellrot_train import checkpoint
from cellrot_train.classifier import fit_classifier
from cellrot_train.config import Config
from cellrot_train.loop import (
    Step,
    average,
    build_optimizer,
    build_scaler,
    cosine,
    train,
)
from cellrot_train.objectives import UNLABELLED, Learner, freeze_unused
from cellrot_train.pixels import Pixels
from cellrot_train.processes import arithmetic
from cellrot_train.run import BEST, LAST, METRICS, Run, load_weights, new_encoder
from cellrot_train.sampling import Feed, Plan, Share, draws
from cellrot_train.validation import Scores, features_of, objective_loss, score

Row = dict[str, float]


class InterruptedRunError(CellrotError):
    """The user stopped the training."""

    exit_status = 130


class Display(Protocol):
    """Hears what happens during a training."""

    def note(self, text: str) -> None:
        """Hear something worth a line."""

    def started(self, steps: int, done: int, batch_size: int) -> None:
        """Hear how many steps there are, how many are done, and of how many patches."""

    def step(self, step: Step) -> None:
        """Hear of one step."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Hear of one epoch, a row of history.csv."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None: ...
    def started(self, steps: int, done: int, batch_size: int) -> None: ...
    def step(self, step: Step) -> None: ...
    def epoch(self, row: Mapping[str, float]) -> None: ...


@dataclass
class Progress:
    """How far a training is; goes into the checkpoint as plain values."""

    done: int = 0  # steps
    losses: list[float] = field(default_factory=list)  # of the epoch so far
    history: list[Row] = field(default_factory=list)
    best: float = -torch.inf


class Training:
    """The training of one run. `mean` holds the averaged weights.

    With several processes every one takes its `share` of each batch; the first one
    alone validates and writes.
    """

    def __init__(
        self,
        run: Run,
        config: Config,
        pixels: Pixels,
        device: torch.device,
        share: Share,
    ) -> None:
        torch.manual_seed(config.seed)
        self.run, self.config, self.pixels = run, config, pixels
        self.device, self.share, self.progress = device, share, Progress()
        self.labels = torch.from_numpy(pixels.patch_set.labels)
        self.feed = self._feed(self._marks("train"), share)
        classes = len(pixels.patch_set.class_names)
        self.learner = Learner(new_encoder(config), classes, config)
        self.learner.precision = arithmetic(config.precision, device)
        self.learner.to(device)
        freeze_unused(self.learner, next(self.feed.batches(0, 1)))
        self.mean = copy.deepcopy(self.learner)
        self.optimizer = build_optimizer(
            self.learner, config.learning_rate, config.weight_decay
        )
        self.scaler = build_scaler(self.learner.precision, device)

    def start_from(self, encoder: nn.Module) -> None:
        """Take the weights of a trained encoder."""
        load_weights(self.learner.encoder, encoder.state_dict(), self.run.folder)

    def prepare(self) -> None:
        """Bring the classifier to the scale of the encoder's features."""
        rows = self.feed.plan.rows(0)
        features = features_of(self.learner, self.pixels.images, rows)
        self.learner.classifier.standardise(features)
        self.mean.load_state_dict(self.learner.state_dict())

    def resume(self) -> None:
        """Go on from the last checkpoint of the run."""
        path = self.run.folder / LAST
        state = checkpoint.load(path, self.device)
        load_weights(self.learner, state["learner"], path)
        load_weights(self.mean, state["mean"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on as if nothing had happened.

        No state of random numbers: those of a step follow from its number.
        """
        return {
            "learner": self.learner.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": vars(self.progress),
        }

    @property
    def steps(self) -> int:
        """How many steps the training has."""
        plan = self.feed.plan
        seen = plan.steps_per_epoch * plan.batch_size
        usual = min(60, max(20, 200_000 // seen))  # some minutes on two cores
        return plan.steps_per_epoch * (self.config.epochs or usual)

    def finish(self, show: Display) -> None:
        """Train to the end and leave the run complete."""
        try:
            self._train(show)
            if not self.share.rank:
                self._conclude()
        except KeyboardInterrupt:
            raise InterruptedRunError(f"stopped at step {self._last_words()}") from None
        except OutputError as error:
            words = self._last_words()
            raise OutputError(f"{error}; stopped at step {words}") from None

    def _train(self, show: Display) -> None:
        config, progress, plan = self.config, self.progress, self.feed.plan
        show.started(self.steps, progress.done, plan.batch_size)
        saved = time.monotonic()
        for step in train(
            self._parallel(),
            self.optimizer,
            self.feed.batches(progress.done, self.steps),
            rate=cosine(
                config.learning_rate,
                round(config.warmup_epochs * plan.steps_per_epoch),
                self.steps,
            ),
            max_grad_norm=config.max_grad_norm,
            scaler=self.scaler,
        ):
            average(self.mean, self.learner, config.ema_decay, step.index)
            progress.losses.append(step.loss)
            progress.done = step.index + 1
            show.step(step)
            ended = progress.done % plan.steps_per_epoch == 0
            if ended:
                self._end_epoch(show)
            if ended or time.monotonic() - saved >= 60 * config.save_minutes:
                self._save()
                saved = time.monotonic()

    def _parallel(self) -> nn.Module:
        if self.config.compile:
            encoder = self.learner.encoder
            encoder.encode = torch.compile(encoder.encode)  # type: ignore[method-assign]
            encoder.decode = torch.compile(encoder.decode)  # type: ignore[method-assign]
        if self.share.world == 1:
            return self.learner
        return DistributedDataParallel(self.learner)

    def _end_epoch(self, show: Display) -> None:
        progress = self.progress
        epoch = progress.done // self.feed.plan.steps_per_epoch
        row: Row = {"epoch": epoch, "loss": sum(progress.losses) / len(progress.losses)}
        progress.losses.clear()
        if not self.share.rank:
            row |= self._validate()
            quality = self._quality(row)
            if quality >= progress.best:
                progress.best = quality
                self._save_best()
        progress.history.append(row)
        show.epoch(row)

    def _validate(self) -> Row:
        """Return the figures of the averaged weights on the validation split."""
        row: Row = {}
        if "supervised" not in self.learner.weights and self._marks("val").any():
            row["val_loss"] = objective_loss(self.mean, self._val_feed())
        if scores := self.val_scores():
            row |= {"val_macro_f1": scores.macro_f1, "val_accuracy": scores.accuracy}
        return row

    def val_scores(self) -> Scores | None:
        """Return the figures of the averaged weights' classifier, if val has labels."""
        rows = self._labelled("val")
        if not len(rows):
            return None
        features = features_of(self.mean, self.pixels.images, rows)
        with torch.no_grad():
            logits = self.mean.classifier(features).cpu()
        return score(logits, self.labels[rows])

    def _quality(self, row: Row) -> float:
        """Return what the best epoch has most of; labels count where they train."""
        if self.config.keep == "last":
            return row["epoch"]
        if "supervised" in self.learner.weights and "val_macro_f1" in row:
            return row["val_macro_f1"]
        return -row["val_loss"] if "val_loss" in row else row["epoch"]

    def _conclude(self) -> None:
        """Give the run its final classifier and figures."""
        path = self.run.folder / BEST
        state = checkpoint.load(path, self.device)
        load_weights(self.mean, state["learner"], path)
        rows = self._labelled("train")
        if "supervised" not in self.learner.weights and len(rows):
            features = features_of(self.mean, self.pixels.images, rows)
            labels = self.labels[rows].to(self.device)
            classes = len(self.pixels.patch_set.class_names)
            self.mean.classifier = fit_classifier(features, labels, classes)
            self._save_best()
        self.run.write_json(METRICS, self._metrics(state["epoch"]))

    def _metrics(self, epoch: int) -> dict[str, Any]:
        epochs = len(self.progress.history)
        metrics: dict[str, Any] = {"epochs": epochs, "epoch": epoch}
        if scores := self.val_scores():
            metrics["val"] = {
                "macro_f1": scores.macro_f1,
                "accuracy": scores.accuracy,
                "confusion": scores.confusion.tolist(),
            }
        return metrics

    def _save(self) -> None:
        if not self.share.rank:
            checkpoint.save(self.run.folder / LAST, self.state())
            self.run.write_history(self.progress.history)

    def _save_best(self) -> None:
        epoch = self.progress.done // self.feed.plan.steps_per_epoch
        state = {
            "epoch": epoch,
            "learner": self.mean.state_dict(),
            "encoder": self.mean.encoder.state_dict(),
            "classifier": self.mean.classifier.folded().state_dict(),
        }
        checkpoint.save(self.run.folder / BEST, state)

    def _last_words(self) -> str:
        folder = self.run.folder
        if not (folder / LAST).exists():
            return f"{self.progress.done}, before the first checkpoint of {folder}"
        return (
            f"{self.progress.done}; {folder / LAST} is kept, go on with "
            f'`cellrot-train fit --resume "{folder}"`'
        )

    def _marks(self, split: str) -> Tensor:
        """Return which patches belong to `split`, (N,)."""
        marks = torch.zeros(len(self.labels), dtype=torch.bool)
        marks[torch.from_numpy(self.pixels.patch_set.indices(split))] = True
        return marks

    def _labelled(self, split: str) -> Tensor:
        return (self._marks(split) & (self.labels != UNLABELLED)).nonzero().flatten()

    def _feed(self, train: Tensor, share: Share) -> Feed:
        weights = draws(self.labels, train, self.config)
        plan = Plan(weights, self.config.batch_size, self.config.seed, share.world)
        return Feed(
            self.pixels.images, self.labels, plan, self.config, self.device, share
        )

    def _val_feed(self) -> Feed:
        """Return a feed of the validation patches, without their labels."""
        marks, labels = self._marks("val"), torch.full_like(self.labels, UNLABELLED)
        plan = Plan(marks.double(), self.config.batch_size, self.config.seed)
        return Feed(self.pixels.images, labels, plan, self.config, self.device)
