"""What is measured of one entry: on validation cells to choose, on test cells to say.

Figures of the test cells come from readers that learn from the other folds of the
validation and test cells; only test cells are counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.manifold import TSNE

from cellrot_infer.certificate import turn
from cellrot_infer.types import Floats, Patches
from cellrot_train.cells import Cells, joined
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.evaluate import probe_views
from cellrot_train.intake import Intake
from cellrot_train.metrics import Estimate, bootstrap
from cellrot_train.probe import BUDGETS
from cellrot_train.protocol import ORIGINAL, Protocol
from cellrot_train.readout import Model, Readout, read_views, shrink
from cellrot_train.study.record import Final, Painting
from cellrot_train.turning import measure_rotation

MAPPED_CELLS = 600
PAINTED_CELLS = 500  # also of curves and angles
PART = 100


@dataclass(frozen=True)
class Subject:
    """An entry made ready: what reads cells, and the encoder behind it.

    `encoder` is None where there is none; `paints` says whether its decoder has
    learned anything; `shown` whether curves and maps are drawn of it.
    """

    model: Model
    encoder: AutoEncoder | None = None
    paints: bool = False
    shown: bool = False


def measure_val(subject: Subject, val: Cells) -> dict[str, Protocol]:
    """Return what the vectors are worth on validation cells, by read-out."""
    views = read_views(subject.model, val)
    return _probe(views, val, few_labels=False)


def measure_final(subject: Subject, val: Cells, test: Cells, side_px: int) -> Final:
    """Return all figures of the test cells; the validation cells only teach."""
    both = joined(val, test)
    views = read_views(subject.model, both)
    counted = np.arange(len(both)) >= len(val)
    probes = _probe(views, both, few_labels=True, counted=counted)
    upright = views[ORIGINAL].at(np.flatnonzero(counted))
    encoder = subject.encoder
    some = test.read(mapped_rows(test, PAINTED_CELLS))
    return Final(
        probes=probes,
        rotation=(
            measure_rotation(subject.model, test, upright) if subject.shown else None
        ),
        painting=_paint(encoder, some, side_px) if subject.paints and encoder else None,
        angle_error_deg=_angle_error(encoder, some, side_px) if encoder else None,
        places=_places(upright, mapped_rows(test)) if subject.shown else (),
    )


def mapped_rows(cells: Cells, count: int = MAPPED_CELLS) -> np.ndarray:
    """Return the positions of the cells that a map shows, (M,)."""
    chosen = np.random.default_rng(0).permutation(len(cells))[:count]
    return np.sort(chosen)


def _probe(
    views: Mapping[str, Readout],
    cells: Cells,
    *,
    few_labels: bool,
    counted: np.ndarray | None = None,
) -> dict[str, Protocol]:
    budgets = BUDGETS if few_labels else ()
    return {
        name: probe_views(views, name, cells, budgets=budgets, counted=counted)
        for name in views[ORIGINAL].representations
    }


def _places(upright: Readout, rows: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return where t-SNE puts the vectors of the poster's read-out."""
    vectors = next(iter(upright.at(rows).representations.values()))
    spread = vectors.std(axis=0)
    known = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(known)
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in found)


@torch.no_grad()
def _paint(encoder: AutoEncoder, patches: Patches, side_px: int) -> Painting:
    """Return how the reconstructions of `patches` compare with them."""
    intake = _intake(encoder, side_px)
    errors, figures = [], []
    for start in range(0, len(patches), PART):
        images = _seen(intake, patches[start : start + PART], side_px)
        painted = encoder(images) * intake.mask
        area = intake.mask.square().mean()
        errors.append((painted - images).square().mean((1, 2, 3)) / area)
        pair = (asymmetry(shown.cpu().numpy()) for shown in (painted, images))
        figures.append(np.stack(list(pair), axis=1))
    both = np.concatenate(figures).mean(axis=0)
    return Painting(torch.cat(errors).mean().item(), float(both[0]), float(both[1]))


def asymmetry(images: Floats) -> Floats:
    """Return the share of the variance inside the disc that is not in rings, (N,).

    `images` (N, 3, S, S). 0 for a target of rings, up to 1.
    """
    side = images.shape[-1]
    along = np.arange(side) - (side - 1) / 2
    radius = np.hypot(along[:, None], along)
    inside = radius < side / 2 - 1
    ring = radius[inside].astype(np.int64)
    pixels = images[:, :, inside]
    member = np.eye(ring.max() + 1, dtype=np.float32)[ring]  # (P, R)
    rings = (pixels @ member) / member.sum(axis=0)
    left = pixels - rings @ member.T
    centred = pixels - pixels.mean(axis=2, keepdims=True)
    total = np.square(centred).sum((1, 2))
    return np.square(left).sum((1, 2)) / np.maximum(total, 1e-12)


@torch.no_grad()
def _angle_error(
    encoder: AutoEncoder, patches: Patches, side_px: int
) -> Estimate | None:
    """Return the median error of the predicted angle, None where none is predicted."""
    intake = _intake(encoder, side_px)
    angles = np.random.default_rng(1).uniform(0, 360, len(patches))
    errors = []
    for start in range(0, len(patches), PART):
        part, turns = patches[start : start + PART], angles[start : start + PART]
        turned = [turn(p[None], a) for p, a in zip(part, turns, strict=True)]
        before = encoder.encode(_seen(intake, part, side_px)).orientation
        after = encoder.encode(
            _seen(intake, np.concatenate(turned), side_px)
        ).orientation
        if before is None or after is None:
            return None
        found = _angle_deg(after) - _angle_deg(before) - turns
        errors.append(np.abs((found + 180) % 360 - 180))
    return bootstrap(lambda values: float(np.median(values)), np.concatenate(errors))


def _angle_deg(vector: torch.Tensor) -> np.ndarray:
    x, y = vector.unbind(dim=1)
    return np.degrees(np.arctan2(y.cpu().numpy(), x.cpu().numpy()))


def _seen(intake: Intake, patches: Patches, side_px: int) -> torch.Tensor:
    small = torch.from_numpy(shrink(patches, side_px)).permute(0, 3, 1, 2)
    images: torch.Tensor = intake(small.to(intake.mask.device))
    return images


def _intake(encoder: AutoEncoder, side_px: int) -> Intake:
    return Intake(side_px).to(next(encoder.parameters()).device)
