"""A trained run made ready for use: calibrated, with thresholds and figures."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class Deployment:
    """The network of the ONNX file, the thresholds of its card and its temperature."""

    network: Deployed
    thresholds: Thresholds
    temperature: float


def deploy(run: TrainedRun, patch_set: PatchSet) -> Deployment:
    """Return `run` calibrated on the validation cells of `patch_set`.

    Novelty learns where the labelled training cells lie, as they are and varied: what
    sets laboratories apart is no sign of a strange cell. Raises DataError where either
    split has no labelled cells.
    """
    plain, labels = labelled_features(run, patch_set, "train")
    varied, _ = labelled_features(run, patch_set, "train", varied=True)
    novelty = Novelty.fit(torch.cat([plain, varied]), labels.repeat(2))
    features, labels = labelled_features(run, patch_set, "val")
    with torch.inference_mode():
        logits = run.classifier(features)
        distance = novelty(features)
    temperature = fit_temperature(logits, labels)
    probabilities = (logits / temperature).softmax(dim=1)
    thresholds = Thresholds(
        set_probability=conformal_probability(probabilities, labels, COVERAGE),
        coverage=COVERAGE,
        novelty=distance.quantile(FAMILIAR).item(),
    )
    sides_px = run.config.side_px, run.config.network_px
    network = Deployed(run.encoder, run.classifier, temperature, novelty, *sides_px)
    return Deployment(network.eval(), thresholds, temperature)


@torch.inference_mode()
def labelled_features(
    run: TrainedRun, patch_set: PatchSet, split: str, *, varied: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the features (N, F) and labels (N,) of the labelled cells of `split`.

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
    return features, torch.from_numpy(patch_set.labels[rows])


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
