"""How good the weights are that training has reached: on patches it never saw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cellrot_train.classifier import Classifier
from cellrot_train.config import Config
from cellrot_train.data import PatchSet
from cellrot_train.metrics import Counts, accuracy, confusion, macro_f1
from cellrot_train.objectives import UNLABELLED, Learner
from cellrot_train.sampling import Feed, Plan, vary

BATCH = 256

Row = dict[str, float]


@torch.no_grad()
def features_of(
    learner: Learner, images: Tensor, rows: Tensor, *, varied: bool = False
) -> Tensor:
    """Return the features (M, F) of `rows` of the bytes `images` (N, 3, S, S).

    `varied` cells look as in training: turned, and as other laboratories show them.
    """
    learner.eval()
    device = learner.intake.mask.device
    parts = [torch.empty(0, learner.encoder.feature_size, device=device)]
    for number, part in enumerate(rows.split(BATCH)):
        patches = images[part.to(images.device)].to(device)
        if varied:
            patches = vary(patches, learner.config, number)
        encoding = learner.encoder.encode(learner.intake(patches))
        parts.append(encoding.features.float())
    return torch.cat(parts)


def rows_of(patch_set: PatchSet, split: str, *, labelled: bool = False) -> Tensor:
    """Return the positions of the (labelled) patches of `split`, (M,)."""
    rows = patch_set.indices(split)
    return torch.from_numpy(rows[patch_set.labels[rows] >= 0] if labelled else rows)


def figures(counts: Counts) -> Row:
    """Return what history.csv keeps of a confusion matrix (K, K)."""
    return {
        "val_macro_f1": float(macro_f1(counts)),
        "val_accuracy": float(accuracy(counts)),
    }


@dataclass(frozen=True)
class Validation:
    """Judges a learner on the validation split: `images` are those of the whole set."""

    patch_set: PatchSet
    images: Tensor
    config: Config
    device: torch.device

    def row(self, learner: Learner) -> Row:
        """Return the figures of an epoch: of the labels, or of the objective."""
        counts = self.confusion(learner)
        row = {} if counts is None else figures(counts)
        if "supervised" not in learner.weights and len(rows_of(self.patch_set, "val")):
            row["val_loss"] = self.loss(learner)
        return row

    def confusion(self, learner: Learner) -> Counts | None:
        """Return what the classifier makes of the labelled part, if there is one."""
        return self.judge(learner.classifier, self.features(learner))

    def features(self, learner: Learner, *, varied: bool = False) -> Tensor:
        """Return the features (M, F) of the labelled part, see `features_of`."""
        return features_of(learner, self.images, self._labelled(), varied=varied)

    @torch.no_grad()
    def judge(self, classifier: Classifier, features: Tensor) -> Counts | None:
        """Return what `classifier` makes of `features` (M, F), None where M is 0."""
        if not len(features):
            return None
        predicted = classifier(features).argmax(dim=1).cpu().numpy()
        truth = self.patch_set.labels[self._labelled().numpy()]
        return confusion(truth, predicted, len(self.patch_set.class_names))

    def _labelled(self) -> Tensor:
        return rows_of(self.patch_set, "val", labelled=True)

    @torch.no_grad()
    def loss(self, learner: Learner) -> float:
        """Return the mean objective, without labels, of views that never change."""
        marks = torch.zeros(len(self.images))
        marks[rows_of(self.patch_set, "val")] = 1
        plan = Plan(marks, self.config.batch_size, self.config.seed)
        unknown = torch.full((len(marks),), UNLABELLED)
        feed = Feed(self.images, unknown, plan, self.config, self.device)
        learner.eval()
        batches = feed.batches(0, plan.steps_per_epoch)
        losses = [learner(batch)["loss"].item() for batch in batches]
        return sum(losses) / len(losses)
