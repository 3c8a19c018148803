"""What is minimised. Each term is one function of what the learner sees of a batch.

An objective is a sum of terms with weights, written as `supervised+0.5*reconstruction`.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from cellrot_train.augment import crop
from cellrot_train.classifier import Classifier
from cellrot_train.config import Config, ConfigError
from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.intake import Intake
from cellrot_train.layers.correlation import multiply_in

UNLABELLED = -1
SURE = 0.8  # probability from which on a prediction teaches
PRESETS = {"joint": "supervised+contrastive"}


class Batch(NamedTuple):
    """Augmented patches of one step, view after view of the same N cells.

    `step` counts from 0. `images` (V*N, 3, S, S) in [0, 255]; `labels` (V*N,), -1 where
    unknown; `disc` (V*N, 3), x, y and radius of the part to look at, in [-1, 1];
    `angle_rad` (V*N,) and `chance` (V*N, 8) are random numbers for terms that need
    some, drawn outside so that they do not depend on the number of processes.
    """

    step: int
    images: Tensor
    labels: Tensor
    disc: Tensor
    angle_rad: Tensor
    chance: Tensor


class Sight(NamedTuple):
    """What a term can look at: the encoder's input and what the encoder made of it."""

    images: Tensor
    encoding: Encoding
    batch: Batch


class Learner(nn.Module):
    """An encoder with all that it is trained with; gives the terms of its objective."""

    def __init__(self, encoder: AutoEncoder, class_count: int, config: Config) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        self.layout = torch.contiguous_format
        self.weights = parse_objective(config.objective)
        self.intake = Intake(config.network_px)
        self.encoder = encoder
        self.classifier = Classifier(encoder.feature_size, class_count)
        self.projector: nn.Module | None = None
        if self.weights.keys() & PROJECTING:
            self.projector = _projector(encoder.feature_size, config.projection_size)

    def compute_in(self, arithmetic: torch.dtype, device: torch.device) -> None:
        """Train in numbers of this type: all of it on CUDA, convolutions on a CPU."""
        if device.type == "cuda":
            self.precision = arithmetic
        elif arithmetic != torch.float32:
            multiply_in(arithmetic, self.encoder)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the value of each term, with `loss`, their weighted sum."""
        images = crop(self.intake(batch.images), batch.disc)
        images = images.contiguous(memory_format=self.layout)
        with torch.autocast(
            images.device.type, self.precision, self.precision != torch.float32
        ):
            return self._terms(images, batch)

    def _terms(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        sight = Sight(images, self.encoder.encode(images), batch)
        terms = {name: TERMS[name](self, sight) for name in self.weights}
        loss = sum(self.weights[name] * value for name, value in terms.items())
        if "supervised" not in terms and self.classifier.linear.out_features:
            terms["probe"] = probe(self, sight)
            loss = loss + (terms["probe"] - terms["probe"].detach())  # gradient only
        return {"loss": torch.as_tensor(loss), **terms}


Term = Callable[[Learner, Sight], Tensor]


def freeze_unused(learner: Learner, batch: Batch) -> None:
    """Stop the gradients of what the objective never reaches, such as a decoder."""
    learner(batch)["loss"].backward()
    for parameter in learner.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    learner.zero_grad(set_to_none=True)


def parse_objective(text: str) -> dict[str, float]:
    """Return the weight of each term of `text`; raise ConfigError where it has none."""
    weights: dict[str, float] = {}
    for part in text.split("+"):
        factor, _, name = part.replace(" ", "").rpartition("*")
        if name in PRESETS:
            inner = parse_objective(PRESETS[name])
        elif name in TERMS:
            inner = {name: 1.0}
        else:
            known = ", ".join([*TERMS, *PRESETS])
            raise ConfigError(f"objective has {part!r}, expected some of {known}")
        for term, weight in inner.items():
            weights[term] = weight * _weight(factor or "1")
    return weights


def _weight(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise ConfigError(f"objective has the weight {text!r}, expected a number from 0 on")


def views(weights: Mapping[str, float]) -> int:
    """Return how many views of each cell the terms compare."""
    return 2 if weights.keys() & COMPARING else 1


def reconstruction(learner: Learner, sight: Sight) -> Tensor:
    """Return the mean squared error inside the disc, where the input has variance 1."""
    return _disc_error(learner, learner.encoder.decode(sight.encoding), sight.images)


def supervised(learner: Learner, sight: Sight) -> Tensor:
    """Return the cross-entropy of the labelled patches."""
    return _cross_entropy(learner, sight.encoding.features, sight.batch.labels)


def probe(learner: Learner, sight: Sight) -> Tensor:
    """Return the cross-entropy of a classifier that the encoder does not hear of."""
    features = sight.encoding.features.detach()
    return _cross_entropy(learner, features, sight.batch.labels)


def contrastive(learner: Learner, sight: Sight) -> Tensor:
    """Return how badly a view is told from those of other cells (NT-Xent).

    Chen et al., A simple framework for contrastive learning, ICML 2020.
    """
    first, second = _projections(learner, sight)
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    likeness = both @ both.T / learner.config.temperature
    likeness.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(likeness, partner)


def variance(learner: Learner, sight: Sight) -> Tensor:
    """Return how far views differ, coordinates collapse, and say the same.

    Bardes et al., VICReg, ICLR 2022, with its weights, divided by 25.
    """
    first, second = (z.float() for z in _projections(learner, sight))
    distance = F.mse_loss(first, second)
    return distance + sum(_collapse(z) + _redundancy(z) / 25 for z in (first, second))


def masked(learner: Learner, sight: Sight) -> Tensor:
    """Return the reconstruction error of images of which two discs were hidden."""
    hidden = sight.images
    for chance in (sight.batch.chance[:, :3], sight.batch.chance[:, 3:6]):
        centre, radius = chance[:, :2] - 0.5, 0.15 + 0.2 * chance[:, 2:]
        hidden = hidden - crop(hidden, torch.cat([centre, radius], dim=1))
    return _disc_error(learner, learner.encoder(hidden), sight.images)


def consistency(learner: Learner, sight: Sight) -> Tensor:
    """Return the cross-entropy of each view against what the other is sure of.

    Sohn et al., FixMatch, NeurIPS 2020, with two views of the same strength.
    """
    logits = learner.classifier(sight.encoding.features).float()
    sure, believed = logits.detach().softmax(dim=1).max(dim=1)
    other = logits.roll(len(logits) // 2, dims=0)
    return (F.cross_entropy(other, believed, reduction="none") * (sure > SURE)).mean()


def orientation(learner: Learner, sight: Sight) -> Tensor:
    """Return how badly the predicted angle follows a known turn of the image.

    1 - cos of the error, over a quarter of the batch: [0, 2].
    """
    part = slice(0, max(1, len(sight.images) // 4))
    before = sight.encoding.orientation
    if before is None:
        raise ConfigError(
            f"objective: {learner.config.model} knows no orientation, "
            "expected stn or hnet-r2"
        )
    angle_rad = sight.batch.angle_rad[part]
    after = learner.encoder.encode(turn(sight.images[part], angle_rad)).orientation
    assert after is not None
    expected = turn_vector(before[part], angle_rad)
    return 1 - (expected * after).sum(dim=1).mean()


def turn(images: Tensor, angle_rad: Tensor) -> Tensor:
    """Return `images` turned by `angle_rad` (N,), counter-clockwise on the screen."""
    cos, sin, zero = angle_rad.cos(), angle_rad.sin(), torch.zeros_like(angle_rad)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), align_corners=False)


def turn_vector(vector: Tensor, angle_rad: Tensor) -> Tensor:
    """Return the vectors (N, 2) turned by `angle_rad` (N,), counter-clockwise."""
    (x, y), cos, sin = vector.unbind(dim=1), angle_rad.cos(), angle_rad.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1)


RECONSTRUCTING = {"reconstruction", "masked"}
PROJECTING = {"contrastive", "variance"}
COMPARING = PROJECTING | {"consistency"}  # terms that need two views
TERMS: dict[str, Term] = {
    "reconstruction": reconstruction,
    "supervised": supervised,
    "consistency": consistency,
    "masked": masked,
    "contrastive": contrastive,
    "variance": variance,
    "orientation": orientation,
}


def _projector(size: int, projection_size: int) -> nn.Module:
    hidden = 2 * projection_size
    return nn.Sequential(
        nn.Linear(size, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, projection_size),
    )  # fmt: skip


def _projections(learner: Learner, sight: Sight) -> tuple[Tensor, Tensor]:
    """Return the projections (N, P) of both views of all processes' cells.

    A head of their own reads the features of all layers, as the classifier does. On
    the embedding, which reconstruction uses, the two would hurt each other.
    """
    assert learner.projector is not None
    features = learner.classifier.standard(sight.encoding.features)
    first, second = learner.projector(features).chunk(2)
    return _everywhere(first), _everywhere(second)


def _everywhere(local: Tensor) -> Tensor:
    """Return the rows of all processes; gradients find their way back."""
    if not dist.is_initialized():
        return local
    return cast("Tensor", _Gather.apply(local))


class _Gather(torch.autograd.Function):
    """Concatenate the rows of all processes; the gradient of a row is their sum."""

    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _cross_entropy(learner: Learner, features: Tensor, labels: Tensor) -> Tensor:
    total = F.cross_entropy(
        learner.classifier(features).float(),
        labels,
        ignore_index=UNLABELLED,
        label_smoothing=learner.config.label_smoothing,
        reduction="sum",
    )
    count = (labels != UNLABELLED).sum().float()
    if dist.is_initialized():
        dist.all_reduce(count)  # a process may hold more labels than another
        count = count / dist.get_world_size()
    return total / count.clamp(min=1)


def _disc_error(learner: Learner, output: Tensor, target: Tensor) -> Tensor:
    mask = learner.intake.mask
    error = (output.float() * mask - target).square().mean()
    return error / mask.square().mean()


def _collapse(z: Tensor) -> Tensor:
    spread = (z.var(dim=0) + 1e-4).sqrt()
    return F.relu(1 - spread).mean() / 2


def _redundancy(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / max(1, len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[
        1
    ]
