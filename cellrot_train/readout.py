"""What a model makes of patches, whether it is a run or an ONNX file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from cellrot_infer.certificate import turn
from cellrot_infer.classify import Classifier
from cellrot_infer.types import Floats, Patches
from cellrot_train.cells import BATCH, Cells
from cellrot_train.config import Config
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.intake import Intake
from cellrot_train.metrics import Indices
from cellrot_train.protocol import ORIGINAL, TURNED
from cellrot_train.run import TrainedRun
from cellrot_train.whitening import learn_whitening

EMBEDDING, FEATURES, WHITENED = "embedding", "features", "whitened"


class Readout(NamedTuple):
    """What a model makes of N patches.

    `representations` are vectors (N, D) by name; `probabilities` (N, K) are those of
    its classifier, None where it has none.
    """

    representations: Mapping[str, Floats]
    probabilities: Floats | None

    def at(self, rows: Indices) -> "Readout":
        """Return the readout of the patches at `rows`."""
        vectors = {name: found[rows] for name, found in self.representations.items()}
        known = self.probabilities
        return Readout(vectors, None if known is None else known[rows])

    def classes(self) -> Indices:
        """Return the class of each patch, (N,)."""
        if self.probabilities is None:
            raise ValueError("a model without a classifier names no classes")
        return self.probabilities.argmax(axis=1)


Model = Callable[[Patches], Readout]  # of patches (N, S, S, 3), any S of its side on


def model_of_run(run: TrainedRun, device: torch.device) -> Model:
    """Return the encoder and the classifier of `run` as a model, on `device`."""
    classifier = run.classifier if run.class_names else None
    return model_of_encoder(run.encoder, run.config, device, classifier)


def model_of_encoder(
    encoder: AutoEncoder,
    config: Config,
    device: torch.device,
    classifier: nn.Linear | None = None,
) -> Model:
    """Return `encoder`, of `config` and in its present mode, as a model on `device`."""
    side_px, intake = config.side_px, Intake(config.network_px).to(device)
    encoder = encoder.to(device)
    classifier = None if classifier is None else classifier.to(device)

    @torch.inference_mode()
    def read(patches: Patches) -> Readout:
        small = torch.from_numpy(shrink(patches, side_px)).to(device)
        encoding = encoder.encode(intake(small.permute(0, 3, 1, 2)))
        found = {EMBEDDING: encoding.embedding, FEATURES: encoding.features}
        vectors = {name: value.float().cpu().numpy() for name, value in found.items()}
        if classifier is None:
            return Readout(vectors, None)
        probabilities = classifier(encoding.features).softmax(dim=1)
        return Readout(vectors, probabilities.float().cpu().numpy())

    return read


def averaged(model: Model, turns: int) -> Model:
    """Return `model` with its vectors averaged over `turns` copies, turned evenly.

    What an encoder that is not invariant can do at inference, at `turns` times the
    price. It has no classifier.
    """

    def read(patches: Patches) -> Readout:
        copies = [model(turn(patches, 360 * k / turns)) for k in range(turns)]
        found = {
            name: np.mean([copy.representations[name] for copy in copies], axis=0)
            for name in copies[0].representations
        }
        return Readout(found, None)

    return read


def whitened(model: Model, cells: Patches) -> Model:
    """Return `model` with one vector more: its features, whitened as `cells` tell.

    No label of theirs is read.
    """
    whitening = learn_whitening(read_upright(model, cells).representations[FEATURES])

    def read(patches: Patches) -> Readout:
        found = model(patches)
        more = {WHITENED: whitening(found.representations[FEATURES])}
        return found._replace(representations={**found.representations, **more})

    return read


def model_of_file(classifier: Classifier) -> Model:
    """Return a loaded ONNX file as a model."""

    def read(patches: Patches) -> Readout:
        found = classifier.classify(patches)
        return Readout({EMBEDDING: found.embeddings}, found.probabilities)

    return read


def read_upright(model: Model, patches: Patches) -> Readout:
    """Return what `model` makes of `patches`, some at a time."""
    starts = range(0, len(patches), BATCH)
    return _join([model(patches[start : start + BATCH]) for start in starts])


def read_views(model: Model, cells: Cells, *, seed: int = 0) -> dict[str, Readout]:
    """Return what `model` makes of all `cells`: `original`, and `turned` at random."""
    angles = np.random.default_rng(seed).uniform(0, 360, len(cells))
    upright, turned = [], []
    for rows, patches in cells.parts():
        upright.append(model(patches))
        pairs = zip(patches, angles[rows], strict=True)
        turned.append(model(np.concatenate([turn(p[None], a) for p, a in pairs])))
    return {ORIGINAL: _join(upright), TURNED: _join(turned)}


def kept_small(cells: Cells, side_px: int) -> Cells:
    """Return `cells` read once and kept in memory at `side_px`, to be read again."""
    parts = [shrink(patches, side_px) for _, patches in cells.parts()]
    patches = np.concatenate(parts)
    return replace(cells, read=lambda rows: patches[rows])


def _join(readouts: Sequence[Readout]) -> Readout:
    representations = {
        name: np.concatenate([readout.representations[name] for readout in readouts])
        for name in readouts[0].representations
    }
    probabilities = [r.probabilities for r in readouts if r.probabilities is not None]
    joined = np.concatenate(probabilities) if probabilities else None
    return Readout(representations, joined)


def shrink(patches: Patches, side_px: int) -> Patches:
    """Return the patches averaged down to `side_px`, as training reads them."""
    if patches.shape[1] == side_px:
        return patches
    size = (side_px, side_px)
    small = np.empty((len(patches), side_px, side_px, 3), np.uint8)
    for target, patch in zip(small, patches, strict=True):
        target[:] = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    return small
