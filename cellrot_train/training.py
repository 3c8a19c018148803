"""A training on its way: what a checkpoint holds, and the turn of steps and epochs."""

import copy
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cellrot_infer.errors import CellrotError, DeviceError, OutputError
from cellrot_train import checkpoint
from cellrot_train.classifier import Classifier, fit_classifier
from cellrot_train.config import Config
from cellrot_train.discriminant import fit_discriminant
from cellrot_train.display import Display
from cellrot_train.intake import centre
from cellrot_train.loop import average, build_optimizer, build_scaler, cosine, train
from cellrot_train.metrics import Counts, macro_f1
from cellrot_train.objectives import (
    RECONSTRUCTING,
    UNLABELLED,
    Learner,
    freeze_unused,
)
from cellrot_train.pixels import Pixels
from cellrot_train.processes import arithmetic, check_compiler, memory_format
from cellrot_train.run import BEST, LAST, METRICS, Run, load_weights, new_encoder
from cellrot_train.sampling import Feed, Plan, Share, draws
from cellrot_train.tensorboard import log
from cellrot_train.validation import Row, Validation, features_of, figures, rows_of


class InterruptedRunError(CellrotError):
    """The user stopped the training."""

    exit_status = 130  # as a shell says of Ctrl-C


@dataclass
class Progress:
    """How far a training is; goes into the checkpoint as plain values."""

    done: int = 0  # steps
    losses: list[float] = field(default_factory=list)  # of the epoch so far
    history: list[Row] = field(default_factory=list)
    best: float = -torch.inf


MOST_HELPERS = 20_000  # cells without a label that help to read few; more say the same
L2 = (1e-4, 1e-3, 1e-5, 1e-6)  # weight decays of the final classifier; the usual first


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
        patch_set, images = pixels.patch_set, pixels.images
        self.run, self.config, self.share = run, config, share
        self.patch_set, self.images = patch_set, images
        self.labels = torch.from_numpy(patch_set.labels)
        self.progress = Progress()
        weights = draws(self.labels, rows_of(patch_set, "train"), config)
        self.plan = Plan(weights, config.batch_size, config.seed, share.world)
        self.feed = Feed(images, self.labels, self.plan, config, device, share)
        self.validation = Validation(patch_set, images, config, device)
        self.learner = Learner(new_encoder(config), len(patch_set.class_names), config)
        numbers = arithmetic(config.precision, device)
        self.learner.compute_in(numbers, device)
        self.learner.layout = memory_format(config.layout, device)
        self.learner.to(device)
        self.learner.to(memory_format=self.learner.layout)  # type: ignore[call-overload]
        freeze_unused(self.learner, next(self.feed.batches(0, 1)))
        self.mean = copy.deepcopy(self.learner)
        rate, decay = config.learning_rate, config.weight_decay
        self.optimizer = build_optimizer(self.learner, rate, decay)
        self.scaler = build_scaler(numbers, device)

    def start(self, encoder: nn.Module | None = None) -> None:
        """Begin at random weights, or at those of a trained encoder."""
        if encoder is not None:
            source = Path(self.config.init)
            load_weights(self.learner.encoder, encoder.state_dict(), source)
        features = features_of(self.learner, self.images, self.plan.rows(0))
        self.learner.classifier.standardise(features)
        self.mean.load_state_dict(self.learner.state_dict())

    def resume(self) -> None:
        """Go on from the last checkpoint of the run."""
        path = self.run.folder / LAST
        state = checkpoint.load(path, self.feed.device)
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
        seen = self.plan.steps_per_epoch * self.plan.batch_size
        usual = min(60, max(20, 200_000 // seen))  # some minutes on two cores
        return self.plan.steps_per_epoch * (self.config.epochs or usual)

    def finish(self, show: Display) -> None:
        """Train to the end and leave the run complete."""
        show.started(self.steps, self.progress.done, self.plan.batch_size)
        try:
            self._train(show)
            if not self.share.rank:
                self._conclude()
        except KeyboardInterrupt:
            raise InterruptedRunError(self._last_words("stopped")) from None
        except OutputError as error:
            raise OutputError(self._last_words(f"{error}; stopped")) from None
        except torch.OutOfMemoryError:
            raise DeviceError(
                f"{self.feed.device}: its memory is full at step {self.progress.done}; "
                "start again with a smaller --batch-size"
            ) from None

    def _train(self, show: Display) -> None:
        config, progress, per_epoch = (
            self.config,
            self.progress,
            self.plan.steps_per_epoch,
        )
        warmup = round(config.warmup_epochs * per_epoch)
        saved = time.monotonic()
        for step in train(
            self._parallel(),
            self.optimizer,
            self.feed.batches(progress.done, self.steps),
            rate=cosine(config.learning_rate, warmup, self.steps),
            max_grad_norm=config.max_grad_norm,
            scaler=self.scaler,
        ):
            average(self.mean, self.learner, config.ema_decay, step.index)
            progress.losses.append(step.loss)
            progress.done = step.index + 1
            show.step(step)
            ended = progress.done % per_epoch == 0
            if ended:
                self._end_epoch(show)
            if ended or time.monotonic() - saved >= 60 * config.save_minutes:
                self._save()
                saved = time.monotonic()

    def _parallel(self) -> nn.Module:
        if self.config.compile:
            check_compiler(self.feed.device)
            encoder = self.learner.encoder
            encoder.encode = torch.compile(encoder.encode)  # type: ignore[method-assign]
            encoder.decode = torch.compile(encoder.decode)  # type: ignore[method-assign]
        if self.share.world == 1:
            return self.learner
        return DistributedDataParallel(self.learner)

    def _end_epoch(self, show: Display) -> None:
        progress = self.progress
        epoch = progress.done // self.plan.steps_per_epoch
        row: Row = {"epoch": epoch, "loss": sum(progress.losses) / len(progress.losses)}
        progress.losses.clear()
        if self.share.rank:
            return
        row |= self.validation.row(self.mean)
        quality = self._quality(row)
        if quality >= progress.best:
            progress.best = quality
            self._save_best(epoch)
        progress.history.append(row)
        log(self.run.folder, row)
        show.epoch(row)

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
        state = checkpoint.load(path, self.feed.device)
        load_weights(self.mean, state["learner"], path)
        rows = rows_of(self.patch_set, "train", labelled=True)
        if self.config.refit and len(rows) and self._refit(rows):
            self._save_best(state["epoch"])
        counts = self.validation.confusion(self.mean)
        self._portray(counts)
        scores = {} if counts is None else figures(counts)
        self.run.write_json(METRICS, {"epoch": state["epoch"], **scores})

    def _portray(self, counts: Counts | None) -> None:
        """Put the pictures of the run into its folder."""
        from cellrot_train import portrait  # matplotlib takes a second

        folder, shown = self.run.folder, portrait.shown_cells(self.patch_set)
        if not self.learner.weights.keys() & RECONSTRUCTING:
            shown = []  # its decoder has learned nothing
        patches = self.images[torch.tensor(shown, dtype=torch.long)]
        patches = centre(patches, self.config.network_px)
        history = self.progress.history
        portrait.write_pictures(folder, self.mean.encoder, patches, history)
        if counts is not None:
            portrait.write_confusion(folder, counts, self.patch_set.class_names)

    def _refit(self, rows: Tensor) -> bool:
        """Fit the classifier anew on the frozen features; return whether it stays.

        One that was trained along with the encoder saw features that moved. A new one
        sees cells as they are, or varied too. The one stays that is best on
        validation, where cells as they are and varied ones count alike: it must serve
        at home and elsewhere.
        """
        rivals = self._rivals(rows)
        seen = [
            self.validation.features(self.mean, varied=varied)
            for varied in (False, True)
        ]

        def quality(classifier: Classifier) -> float:
            counts = (self.validation.judge(classifier, each) for each in seen)
            return sum(0.0 if c is None else float(macro_f1(c)) for c in counts)

        best = max(rivals, key=quality)
        self.mean.classifier, trained = best, self.mean.classifier
        return best is not trained

    def _rivals(self, rows: Tensor) -> list[Classifier]:
        """Return classifiers of the labelled cells at `rows`, the likeliest first."""
        plain, varied = (
            features_of(self.mean, self.images, rows, varied=varied)
            for varied in (False, True)
        )
        train = rows_of(self.patch_set, "train")
        others = train[self.labels[train] == UNLABELLED]
        others = others[:: 1 + len(others) // MOST_HELPERS]
        unlabelled = features_of(self.mean, self.images, others)
        labels = self.labels[rows].to(plain.device)
        classes = len(self.patch_set.class_names)
        both = torch.cat([plain, varied])
        rivals = [fit_classifier(plain, labels, classes, l2=l2) for l2 in L2]
        rivals += [fit_classifier(both, labels.repeat(2), classes, l2=l2) for l2 in L2]
        discriminant = fit_discriminant(plain, labels, classes, unlabelled)
        few = len(labels) < plain.shape[1]  # for regression, which comes first else
        rivals.insert(0 if few else len(rivals), discriminant)
        if "supervised" in self.learner.weights:
            rivals.insert(0, self.mean.classifier)
        return rivals

    def _save(self) -> None:
        if not self.share.rank:
            # in this order: what is ahead of a checkpoint is written again
            self.run.write_history(self.progress.history)
            checkpoint.save(self.run.folder / LAST, self.state())

    def _save_best(self, epoch: int) -> None:
        state = {
            "epoch": epoch,
            "learner": self.mean.state_dict(),
            "encoder": self.mean.encoder.state_dict(),
            "classifier": self.mean.classifier.folded().state_dict(),
        }
        checkpoint.save(self.run.folder / BEST, state)

    def _last_words(self, reason: str) -> str:
        folder, done = self.run.folder, self.progress.done
        kept = f"{folder / LAST} is kept"
        if not (folder / LAST).exists():
            kept = "that is before the first checkpoint"
        return (
            f"{reason} at step {done}; {kept}, go on with "
            f'`cellrot-train fit --resume "{folder}"`'
        )
