"""The transformer's angle follows a turn of the cell, before and after training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cellrot_infer.certificate import turn
from cellrot_infer.images import read_image
from cellrot_infer.types import Patches
from cellrot_train.augment import STRENGTHS, draw
from cellrot_train.config import Config
from cellrot_train.encoders.stn import TransformerEncoder
from cellrot_train.intake import Intake
from cellrot_train.objectives import Batch, Learner
from cellrot_train.readout import shrink
from cellrot_train.run import new_encoder

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
CONFIG = Config(model="stn", objective="reconstruction+orientation", side_px=32)
ANGLES_DEG = np.random.default_rng(0).uniform(0, 360, 24)


@pytest.fixture(scope="module")
def patches() -> Patches:
    """Return two real cells of each class, and some more, (24, 256, 256, 3)."""
    files = [f for k in range(3) for f in sorted(SAMPLES.glob("*/*.webp"))[k * 9 :: 34]]
    return np.stack([read_image(file.read_bytes(), file.name) for file in files[:24]])


def levels(patches: Patches) -> Tensor:
    return torch.from_numpy(shrink(patches, CONFIG.side_px)).permute(0, 3, 1, 2)


def angle_deg(encoder: TransformerEncoder, patches: Patches) -> np.ndarray:
    with torch.no_grad():
        vector = encoder.localiser(Intake(CONFIG.side_px)(levels(patches)))
    x, y = vector.unbind(dim=1)
    return np.degrees(np.arctan2(y.numpy(), x.numpy()))


def errors_deg(encoder: TransformerEncoder, patches: Patches) -> np.ndarray:
    """Return by how much the angle misses a turn of each cell, (N,)."""
    pairs = zip(patches, ANGLES_DEG, strict=True)
    turned = np.concatenate([turn(patch[None], angle) for patch, angle in pairs])
    found = angle_deg(encoder, turned) - angle_deg(encoder, patches) - ANGLES_DEG
    return np.abs((found + 180) % 360 - 180)


def new_transformer() -> TransformerEncoder:
    torch.manual_seed(0)
    encoder = new_encoder(CONFIG)
    assert isinstance(encoder, TransformerEncoder)
    return encoder


def trained(patches: Patches, steps: int = 12) -> TransformerEncoder:
    encoder = new_transformer()
    learner = Learner(encoder, 0, CONFIG)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    chance = torch.Generator().manual_seed(0)
    for step in range(steps):
        some = draw(len(patches), STRENGTHS["none"], False, chance)
        unknown = torch.full((len(patches),), -1)
        images = levels(patches).float()
        batch = Batch(step, images, unknown, some.disc, some.angle_rad, some.chance)
        optimizer.zero_grad()
        learner(batch)["loss"].backward()
        optimizer.step()
    return encoder


def test_the_angle_follows_any_turn_before_anything_is_learned(
    patches: Patches,
) -> None:
    errors = errors_deg(new_transformer(), patches)

    assert np.median(errors) < 1
    assert np.quantile(errors, 0.9) < 5


def test_the_angle_still_follows_when_its_weights_have_learned(
    patches: Patches,
) -> None:
    before, after = new_transformer(), trained(patches)

    moved = after.localiser.weight - before.localiser.weight
    assert moved.norm() > 0.05 * before.localiser.weight.norm()
    assert np.median(errors_deg(after, patches)) < 2


def test_the_check_rejects_a_localiser_without_the_law(patches: Patches) -> None:
    encoder = new_transformer()
    towards = encoder.localiser.towards
    towards.copy_(towards[torch.randperm(len(towards))])  # as any filter would point

    assert np.median(errors_deg(encoder, patches)) > 20


def test_quarter_turns_are_exact(patches: Patches) -> None:
    encoder = new_transformer()
    turned = angle_deg(encoder, np.rot90(patches, 1, (1, 2)))

    missed = (turned - angle_deg(encoder, patches) - 90 + 180) % 360 - 180
    assert np.abs(missed).max() < 0.05


def test_what_is_encoded_is_upright(patches: Patches) -> None:
    encoder = new_transformer().eval()
    intake = Intake(CONFIG.side_px)
    with torch.no_grad():
        one, other = (
            encoder.encode(intake(levels(images))).embedding
            for images in (patches, np.rot90(patches, 1, (1, 2)))
        )

    assert (one - other).norm() < 1e-3 * one.norm()


def test_a_blank_patch_has_an_angle_too() -> None:
    vector = new_transformer().localiser(torch.zeros(2, 3, 32, 32))

    assert vector.detach().norm(dim=1).numpy() == pytest.approx([1.0, 1.0])
