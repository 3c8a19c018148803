"""Augmentation changes what laboratories change, and nothing else."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from cellrot_train.augment import STRENGTHS, Draw, Strength, augment, crop, draw
from cellrot_train.intake import centre, disc
from cellrot_train.pixels import Pixels
from cellrot_train.sampling import generator

NONE = STRENGTHS["none"]


def drawn(
    count: int, strength: Strength = NONE, *, rotate: bool = False, step: int = 0
) -> Draw:
    return draw(count, strength, rotate, generator(0, step, "test"))


def changed(patches: Tensor, strength: Strength, *, rotate: bool = False) -> Tensor:
    noise = torch.randn(patches.shape, generator=generator(0, 0, "noise"))
    return augment(patches, drawn(len(patches), strength, rotate=rotate), noise)


@pytest.fixture
def cells(pixels: Pixels) -> Tensor:
    return pixels.images[::20]


def test_no_strength_changes_nothing(cells: Tensor) -> None:
    assert (changed(cells, NONE) - cells).abs().max() < 1e-2


def test_a_smaller_view_is_the_middle(cells: Tensor) -> None:
    side_px = cells.shape[-1] * 3 // 4
    noise = torch.zeros(len(cells), 3, side_px, side_px)

    result = augment(cells, drawn(len(cells)), noise)

    assert (result - centre(cells, side_px)).abs().max() < 1e-2


def test_a_moved_cell_brings_its_own_surroundings(cells: Tensor) -> None:
    side_px = cells.shape[-1] * 3 // 4
    noise = torch.zeros(len(cells), 3, side_px, side_px)
    chance = drawn(len(cells))
    chance.warp[:, 0, 2] = 4 * 2 / side_px  # four pixels to the left

    result = augment(cells, chance, noise)

    moved = centre(cells.roll(-4, dims=3), side_px)
    assert (result - moved).abs().max() < 1e-2


@pytest.mark.parametrize("name", ["shift", "stain", "hue", "white", "shading", "blur"])
def test_each_strength_changes_the_image(cells: Tensor, name: str) -> None:
    strong = getattr(STRENGTHS["strong"], name)

    result = changed(cells, NONE._replace(**{name: strong}))

    assert (result - cells).abs().mean() > 0.5


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
def test_the_result_stays_in_range(cells: Tensor, strength: Strength) -> None:
    result = changed(cells, strength, rotate=True)

    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 255


def test_each_patch_meets_its_own_chance(cells: Tensor) -> None:
    same = cells[:1].repeat(8, 1, 1, 1)

    result = changed(same, STRENGTHS["mild"], rotate=True)

    distance = torch.cdist(result.flatten(1), result.flatten(1))
    assert (distance + 1e9 * torch.eye(8)).min() > 100


def test_the_same_chance_gives_the_same_patches(cells: Tensor) -> None:
    once = changed(cells, STRENGTHS["strong"], rotate=True)

    assert torch.equal(once, changed(cells, STRENGTHS["strong"], rotate=True))
    other = drawn(len(cells), STRENGTHS["strong"], rotate=True, step=1)
    assert not torch.equal(once, augment(cells, other, torch.zeros(cells.shape)))


def test_haze_pales_what_is_dark_most(cells: Tensor) -> None:
    chance = drawn(len(cells))._replace(haze=torch.full((len(cells), 1, 1), 0.25))

    hazy = augment(cells, chance, torch.zeros(cells.shape))

    expected = 0.75 * (cells + 1.0) + 0.25 * 256 - 1
    assert (hazy - expected).abs().max() < 0.05


def test_haze_takes_the_colour_of_the_lamp(cells: Tensor) -> None:
    chance = drawn(len(cells))
    chance.light[:, 0, 0] = -1
    all_haze = chance._replace(haze=torch.ones(len(cells), 1, 1))

    seen = augment(cells, all_haze, torch.zeros(cells.shape)).mean((0, 2, 3))

    assert (seen + 1 - torch.tensor([256 / math.e, 256, 256])).abs().max() < 1


def test_some_cells_stay_nearly_as_they_are() -> None:
    stain = drawn(1000, STRENGTHS["strong"]).colour - torch.eye(3)

    size = stain.flatten(1).norm(dim=1)
    assert size.min() < 0.1 * size.median()


def test_turns_keep_the_disc_and_reach_every_angle() -> None:
    warp = drawn(2000, rotate=True).warp

    angle = torch.atan2(warp[:, 1, 0], warp[:, 1, 1])
    assert torch.histc(angle, 8, -math.pi, math.pi).min() > 180
    assert (warp[:, :, :2].det().abs() - 1).abs().max() < 1e-5
    mirrored = (warp[:, :, :2].det() < 0).float().mean()
    assert abs(mirrored - 0.5) < 0.05


def test_without_turning_the_cell_stays_upright() -> None:
    warp = drawn(50, STRENGTHS["strong"]).warp

    assert warp[:, 0, 1].abs().max() == 0
    assert (warp[:, 0, 0] > 0).all()


def test_magnification_stays_within_its_range() -> None:
    warp = drawn(2000, STRENGTHS["strong"], rotate=True).warp

    scale = warp[:, :, :2].det().abs().rsqrt()
    assert scale.min() >= 0.7 - 1e-4
    assert scale.max() <= 1.4 + 1e-4
    assert scale.min() < 0.72
    assert scale.max() > 1.37


def test_the_lamp_adds_the_same_density_everywhere(cells: Tensor) -> None:
    light = drawn(len(cells)).light
    light[:, :, 0] = -math.log(1.25)
    chance = drawn(len(cells))._replace(light=light)

    darker = augment(cells, chance, torch.zeros(cells.shape))

    expected = ((cells + 1.0) / 1.25 - 1).clamp(min=0)
    assert (darker - expected).abs().max() < 0.05


def test_a_dye_taken_twice_doubles_its_density() -> None:
    strength = NONE._replace(stain=1.0)
    colour = drawn(100, strength).colour

    amounts = torch.linalg.eigvals(colour).real
    assert amounts.min() > math.exp(-1) - 1e-3
    assert amounts.max() < math.exp(1) + 1e-3
    assert torch.linalg.eigvals(colour).imag.abs().max() < 1e-4


def test_compression_changes_the_chosen_patches_only(cells: Tensor) -> None:
    step = torch.zeros(len(cells), 1, 1, 1, 1)
    step[3] = 20
    chance = drawn(len(cells))._replace(step=step)

    difference = (augment(cells, chance, torch.zeros(cells.shape)) - cells).abs()

    assert difference[3].mean() > 1
    assert difference[torch.arange(len(cells)) != 3].max() < 1e-2


def test_compression_keeps_the_mean_of_flat_blocks() -> None:
    flat = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    chance = drawn(2)._replace(step=torch.full((2, 1, 1, 1, 1), 4.0))

    result = augment(flat, chance, torch.zeros(flat.shape))

    assert (result - 100).abs().max() <= 0.26  # half a step of 4, over 8 pixels


def test_a_full_disc_crops_as_the_intake_does() -> None:
    images = torch.ones(1, 1, 32, 32)

    kept = crop(images, torch.tensor([[0.0, 0.0, 1.0]]))

    assert (kept[0, 0] - disc(32)).abs().max() < 1e-5


def test_a_small_disc_leaves_its_own_part_only() -> None:
    kept = crop(torch.ones(1, 1, 64, 64), torch.tensor([[0.5, -0.5, 0.25]]))[0, 0]

    assert kept[16, 48] == 1
    assert kept[48, 16] == 0
    assert abs(kept.sum() / (math.pi * 8**2) - 1) < 0.2


def test_full_blur_is_the_mean_of_the_neighbours() -> None:
    patches = torch.rand(2, 3, 8, 8) * 255
    chance = drawn(2)._replace(blur=torch.ones(2, 1, 1, 1))

    result = augment(patches, chance, torch.zeros(patches.shape))

    pooled = avg_pool2d(patches, 3, stride=1, padding=1, count_include_pad=False)
    assert (result - pooled).abs().max() < 1e-2
