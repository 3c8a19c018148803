"""A trained run made ready for use: calibrated, with thresholds and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cellrot_infer.card import Thresholds
from cellrot_infer.errors import DataError
from cellrot_train.calibration import conformal_probability, fit_temperature
from cellrot_train.data import PatchSet
from cellrot_train.deployed import Deployed
from cellrot_train.intake import Intake
from cellrot_train.metrics import EIGHT_CLASSES
from cellrot_train.novelty import Novelty
from cellrot_train.pixels import load_patches
from cellrot_train.run import TrainedRun
from cellrot_train.sampling import vary

COVERAGE = 0.95  # of the conformal sets
FAMILIAR = 0.99  # share of training-like cells that novelty must not reject
BATCH = 256

# Coarser schemes: the group of each class.
GROUPINGS: Mapping[str, Mapping[str, str]] = {
    "8 classes": EIGHT_CLASSES,
    "lineage": {
        "band_neutrophil": "granulocytic",
        "segmented_neutrophil": "granulocytic",
        "promyelocyte": "granulocytic",
        "myelocyte": "granulocytic",
        "metamyelocyte": "granulocytic",
        "eosinophil": "granulocytic",
        "basophil": "granulocytic",
        "monocyte": "monocytic",
        "lymphocyte": "lymphoid",
        "erythroblast": "erythroid",
        "platelet": "megakaryocytic",
    },
}


class Labelled(NamedTuple):
    """Features (N, F) of labelled cells and their classes (N,)."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Readout:
    """What is read from centred features, calibrated: the last part of the ONNX file.

    `head` gives logits that are divided by `temperature` already.
    """

    head: nn.Linear
    novelty: Novelty
    thresholds: Thresholds
    temperature: float


def deploy(run: TrainedRun, patch_set: PatchSet) -> tuple[Deployed, Readout]:
    """Return the network of the file of `run`, and its readout alone.

    Novelty learns where the labelled training cells lie, as they are and varied: what
    sets laboratories apart is no sign of a strange cell. Raises DataError where the
    training or the validation cells are not labelled.
    """
    plain, labels = labelled_features(run, patch_set, "train")
    varied, _ = labelled_features(run, patch_set, "train", varied=True)
    centre = plain.mean(dim=0)
    novelty = Novelty.fit(torch.cat([plain, varied]) - centre, labels.repeat(2))
    features, targets = labelled_features(run, patch_set, "val")
    val = Labelled(features - centre, targets)
    readout = calibrate(moved(run.classifier, centre), novelty, val)
    sides_px = run.config.side_px, run.config.network_px
    network = Deployed(run.encoder, readout.head, novelty, centre, sides_px)
    return network.eval(), readout


@torch.no_grad()
def moved(classifier: nn.Linear, centre: Tensor) -> nn.Linear:
    """Return what says of features minus `centre` what `classifier` says of them."""
    twin = nn.Linear(classifier.in_features, classifier.out_features)
    twin.weight.copy_(classifier.weight)
    twin.bias.copy_(classifier.bias + classifier.weight.double() @ centre.double())
    return twin


@torch.no_grad()
def calibrate(classifier: nn.Linear, novelty: Novelty, val: Labelled) -> Readout:
    """Return `classifier` and `novelty`, calibrated on cells of validation."""
    logits = classifier(val.features)
    temperature = fit_temperature(logits, val.labels)
    probabilities = (logits / temperature).softmax(dim=1)
    thresholds = Thresholds(
        set_probability=conformal_probability(probabilities, val.labels, COVERAGE),
        coverage=COVERAGE,
        novelty=novelty(val.features).quantile(FAMILIAR).item(),
    )
    head = nn.Linear(classifier.in_features, classifier.out_features)
    head.weight.copy_(classifier.weight / temperature)
    head.bias.copy_(classifier.bias / temperature)
    return Readout(head, novelty, thresholds, temperature)


@torch.inference_mode()
def labelled_features(
    run: TrainedRun, patch_set: PatchSet, split: str, *, varied: bool = False
) -> Labelled:
    """Return the features and labels of the labelled cells of `split`.

    `varied` cells look as in training: turned, and as other laboratories show them.
    """
    rows = labelled_rows(patch_set, split)
    patches = load_patches(patch_set, rows, run.config.side_px)
    intake = Intake(run.config.network_px)
    parts = patches.split(BATCH)
    if varied:
        parts = [vary(part, run.config, number) for number, part in enumerate(parts)]
    encodings = (run.encoder.encode(intake(part)) for part in parts)
    features = torch.cat([encoding.features for encoding in encodings])
    return Labelled(features, torch.from_numpy(patch_set.labels[rows]))


def labelled_rows(patch_set: PatchSet, split: str) -> list[int]:
    """Return the positions of the labelled cells of `split`; raise where none is."""
    rows: list[int] = patch_set.indices(split).tolist()
    labelled = [row for row in rows if patch_set.labels[row] >= 0]
    if not labelled:
        raise DataError(
            f"{patch_set.root}: no labelled cells in the split {split!r}; "
            "export needs them to calibrate the probabilities"
        )
    return labelled


def spread_out(patch_set: PatchSet, rows: Sequence[int], count: int) -> list[int]:
    """Return `count` of `rows`, of each class its share; all where there are fewer."""
    by_class = sorted(rows, key=lambda row: int(patch_set.labels[row]))
    places = np.linspace(0, len(rows), min(count, len(rows)), endpoint=False)
    return [by_class[int(place)] for place in places]


def groupings(class_names: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    """Return the coarser schemes for `class_names`; unknown classes stay on their own.

    A scheme that merges nothing is left out.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for scheme, group_of in GROUPINGS.items():
        groups: dict[str, list[str]] = {}
        for name in class_names:
            groups.setdefault(group_of.get(name, name), []).append(name)
        if len(groups) < len(class_names):
            found[scheme] = groups
    return found
