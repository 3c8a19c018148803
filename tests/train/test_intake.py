"""What an encoder sees depends on the cell, not on camera or strength of the stain."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from cellrot_train.intake import Intake, disc

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
SIDE_PX = 64


@pytest.fixture(scope="module")
def patches() -> Tensor:
    """Return real patches as levels, (N, 3, 64, 64)."""
    paths = sorted(SAMPLES.glob("*/*.webp"))[::20]
    images = [cv2.imdecode(np.fromfile(p, np.uint8), cv2.IMREAD_COLOR) for p in paths]
    size = (SIDE_PX, SIDE_PX)
    small = [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for image in images
        if image is not None
    ]
    return (
        torch.from_numpy(np.stack(small)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    )


def test_a_smaller_view_sees_the_middle_alone(patches: Tensor) -> None:
    view = Intake(48)

    assert torch.equal(view(patches), view(patches[..., 8:56, 8:56]))


def test_the_disc_is_soft_and_symmetric() -> None:
    mask = disc(SIDE_PX)

    assert torch.equal(mask, mask.rot90())
    assert mask[0, 0] == 0
    assert mask[32, 32] == 1
    assert ((mask > 0) & (mask < 1)).any()


def test_mean_is_zero_and_variance_one_within_the_disc(patches: Tensor) -> None:
    images = Intake(SIDE_PX)(patches)

    share = disc(SIDE_PX) / disc(SIDE_PX).sum()
    assert (images * share).sum((2, 3)).abs().max() < 0.02
    assert (images.square() * share).sum((1, 2, 3)).mean() == pytest.approx(3, rel=0.02)


def test_a_quarter_turn_only_turns_the_result(patches: Tensor) -> None:
    intake = Intake(SIDE_PX)

    turned = intake(patches.rot90(1, (2, 3)))

    assert torch.equal(turned, intake(patches).rot90(1, (2, 3)))


def test_white_point_and_stain_strength_are_forgotten(patches: Tensor) -> None:
    density = -torch.log((patches + 8) / 263)
    gain = torch.tensor([0.1, 0.0, 0.25])[:, None, None]
    other_camera = 263 * torch.exp(-(0.8 * density + gain)) - 8
    intake = Intake(SIDE_PX)

    error = intake(other_camera) - intake(patches)

    assert error.abs().max() < 0.1  # what is left is LEAST_SPREAD
    assert (intake(patches.roll(1, dims=0)) - intake(patches)).abs().max() > 1


def test_empty_glass_stays_quiet() -> None:
    generator = torch.Generator().manual_seed(0)
    glass = 235 + torch.randn(4, 3, SIDE_PX, SIDE_PX, generator=generator)

    assert Intake(SIDE_PX)(glass).square().mean() < 0.1


def test_restore_undoes_the_intake(patches: Tensor) -> None:
    intake = Intake(SIDE_PX)

    error = intake.restore(intake(patches), patches) - patches

    assert error[..., disc(SIDE_PX) == 1].abs().max() < 0.1
