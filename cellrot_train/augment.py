"""What differs between laboratories, microscopes and mornings, put into training.

A whole batch is changed at once, on its device, each patch by its own chance. The
order is that of the light: the cell moves, the stain takes (in optical density), the
lamp shines, the lens blurs, the camera adds noise, the file is compressed.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cellrot_train.intake import DISC_EDGE_PX

# Absorption of red, green and blue by the dyes of a Romanowsky stain (azure B, eosin Y)
# and what neither explains, as unit rows.
DYES = ((0.72, 0.64, 0.27), (0.21, 0.94, 0.27), (0.24, 0.31, 0.92))


class Strength(NamedTuple):
    """How far each change may go: half ranges, or standard deviations where said."""

    shift: float  # of the side
    scale: tuple[float, float]  # magnification
    stain: float  # relative strength of each dye
    hue: float  # mixing between the colour channels
    white: float  # white point and lamp, natural log
    shading: float  # fall of light across the patch, natural log
    blur: float  # share of the blurred image; negative shares sharpen
    noise: float  # standard deviation at most, of 255
    compressed: float  # share of patches with block artefacts
    crop: float  # radius that a random disc may lose
    haze: float  # share of stray light, which pales what is dark most


STRENGTHS = {
    "none": Strength(0, (1, 1), 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "mild": Strength(0.05, (0.85, 1.18), 0.2, 0.03, 0.08, 0.06, 0.5, 4, 0.1, 0.1, 0),
    "strong": Strength(0.08, (0.7, 1.4), 0.5, 0.1, 0.25, 0.15, 1, 10, 0.3, 0.15, 0),
    "foreign": Strength(0.08, (0.7, 1.4), 0.8, 0.3, 0.25, 0.15, 1, 10, 0.3, 0.15, 0.4),
}


def compared(strength: Strength) -> Strength:
    """Return `strength` for views that shall be recognised as the same cell.

    Each loses up to 0.45 of its radius somewhere, so that parts of a cell must tell
    of the whole. A reconstruction gains nothing from that: its target is the part.
    """
    return strength._replace(
        crop=max(strength.crop, 0.45), shift=max(strength.shift, 0.1)
    )


class Draw(NamedTuple):
    """The chance of N patches; every entry has N rows."""

    warp: Tensor  # (N, 2, 3): where each output position is read, in [-1, 1]
    colour: Tensor  # (N, 3, 3): optical density to optical density
    light: Tensor  # (N, 3, 4): log light added, for 1, x, y, x*x + y*y
    blur: Tensor  # (N, 1, 1, 1)
    noise: Tensor  # (N, 1, 1, 1): standard deviation
    step: Tensor  # (N, 1, 1, 1, 1): of the quantised block frequencies, 0 for none
    disc: Tensor  # (N, 3): x, y and radius of what stays, in [-1, 1]
    angle_rad: Tensor  # (N,): a turn that an objective may ask for
    chance: Tensor  # (N, 8) in [0, 1): for objectives that need some
    haze: Tensor  # (N, 1, 1): share of light that crossed nothing

    def rows(self, part: slice) -> "Draw":
        """Return the chance of some of the patches."""
        return Draw(*(entry[part] for entry in self))

    def to(self, device: torch.device) -> "Draw":
        """Return the same on `device`."""
        return Draw(*(entry.to(device, non_blocking=True) for entry in self))


def draw(count: int, strength: Strength, rotate: bool, chance: torch.Generator) -> Draw:
    """Return what happens to `count` patches; the same generator, the same chance.

    How much of `strength` a patch meets is its own chance, so that a network sees cells
    as they are among strange ones. Turns, crops and blocks are spared.
    """
    amount = torch.rand(count, 1, generator=chance).sqrt()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=chance) * 2 - 1

    def scaled(*shape: int) -> Tensor:
        return uniform(*shape) * amount.reshape(-1, *(1 for _ in shape))

    unit = torch.rand(count, 4, generator=chance)
    light = scaled(3, 4) * torch.tensor(
        [strength.white, strength.shading, strength.shading, strength.shading]
    )
    light[:, :, 1:] = light[:, :1, 1:]  # the lamp shades all colours alike
    light[:, :, 0] += strength.white * scaled(1)
    compressed = unit[:, 0] < strength.compressed
    radius = 1 - strength.crop * unit[:, 1]
    centre = uniform(2) * (1 - radius)[:, None]
    return Draw(
        warp=_warp(strength, rotate, uniform(2), scaled(3)),
        colour=_colour(strength, scaled(3), scaled(3, 3)),
        light=light,
        blur=(strength.blur * scaled(1, 1, 1)).clamp(min=-0.4),
        noise=strength.noise * (amount[:, 0] * unit[:, 2]).reshape(-1, 1, 1, 1),
        step=(compressed * (8 + 24 * unit[:, 3])).reshape(-1, 1, 1, 1, 1),
        disc=torch.cat([centre, radius[:, None]], dim=1),
        angle_rad=math.pi * uniform(),
        chance=torch.rand(count, 8, generator=chance),
        haze=strength.haze * scaled(1, 1).abs(),
    )


def _warp(strength: Strength, rotate: bool, turn: Tensor, move: Tensor) -> Tensor:
    """Return (N, 2, 3) from chances in [-1, 1): `turn` (N, 2), `move` (N, 3)."""
    angle = math.pi * turn[:, 0] * rotate
    mirror = torch.where(turn[:, 1] < 0, -1.0, 1.0)
    if not rotate:
        mirror = torch.ones_like(mirror)
    low, high = (math.log(value) for value in strength.scale)
    reach = torch.exp(-(low + (high - low) * (move[:, 0] + 1) / 2))
    cos, sin = reach * angle.cos(), reach * angle.sin()
    shift = strength.shift * 2 * move[:, 1:]
    rows = torch.stack(
        [mirror * cos, -mirror * sin, shift[:, 0], sin, cos, shift[:, 1]]
    )
    return rows.T.reshape(-1, 2, 3)


def _colour(strength: Strength, dyes: Tensor, mixing: Tensor) -> Tensor:
    """Return the map of optical densities, (N, 3, 3), for column vectors."""
    basis = F.normalize(torch.tensor(DYES), dim=1)
    amounts = torch.diag_embed(torch.exp(strength.stain * dyes))
    stain = basis.T @ amounts @ torch.linalg.inv(basis).T
    return stain + strength.hue * mixing


def augment(patches: Tensor, chance: Draw, noise: Tensor) -> Tensor:
    """Return the bytes `patches` (N, 3, P, P) as changed floats in [0, 255].

    `noise` (N, 3, S, S) has mean 0 and variance 1. The result has its shape: the
    central S pixels, into which a moved cell brings its own surroundings.
    """
    images = _move(patches.float(), chance.warp, noise.shape[-1])
    images = _stain(images, chance)
    images = _focus(images, chance.blur)
    images = torch.addcmul(images, noise, chance.noise)
    return _compress(images, chance.step).clamp(0, 255)


def _plane(side_px: int, device: torch.device) -> Tensor:
    """Return x, y and 1 of every pixel, (3, S * S), the positions in [-1, 1]."""
    along = (torch.arange(side_px, device=device) + 0.5) * 2 / side_px - 1
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).flatten(1)


def _move(images: Tensor, warp: Tensor, side_px: int) -> Tensor:
    places = warp * (side_px / images.shape[-1]) @ _plane(side_px, images.device)
    grid = places.unflatten(2, (side_px, side_px)).permute(0, 2, 3, 1)
    # mirrored surroundings look like a smear; a constant would show the angle
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _stain(images: Tensor, chance: Draw) -> Tensor:
    """Change the amounts of dye and the light, where they add: in optical density.

    Then light comes in that crossed no cell, as where a lens flares.
    """
    side_px = images.shape[-1]
    x, y, one = _plane(side_px, images.device)
    lamp = chance.light @ torch.stack([one, x, y, x * x + y * y])
    log_transmission = ((images + 1) * (1 / 256)).log_().flatten(2)
    changed = torch.baddbmm(lamp, chance.colour, log_transmission).exp_()
    changed.lerp_(chance.light[:, :, :1].exp(), chance.haze)
    return changed.mul_(256).sub_(1).clamp_(0, 255).unflatten(2, (side_px, side_px))


def _focus(images: Tensor, blur: Tensor) -> Tensor:
    soft = _thirds(_thirds(images, 2), 3)  # a pooling does the same in five times
    return torch.lerp(images, soft, blur)


def _thirds(images: Tensor, axis: int) -> Tensor:
    """Return the mean of each pixel and its neighbours along `axis`."""
    side_px = images.shape[axis]
    total = images.clone()
    total.narrow(axis, 1, side_px - 1).add_(images.narrow(axis, 0, side_px - 1))
    total.narrow(axis, 0, side_px - 1).add_(images.narrow(axis, 1, side_px - 1))
    total.narrow(axis, 1, side_px - 2).div_(3)
    total.narrow(axis, 0, 1).div_(2)
    total.narrow(axis, side_px - 1, 1).div_(2)
    return total


def _compress(images: Tensor, step: Tensor) -> Tensor:
    """Round the frequencies of 8 x 8 blocks as JPEG does, coarser where higher."""
    side_px = images.shape[-1]
    chosen = step.flatten().nonzero().flatten()
    if side_px % 8 or len(chosen) == 0:
        return images
    n = torch.arange(8, device=images.device)
    waves = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) / 2
    waves[0] /= math.sqrt(2)
    blocks = images[chosen].unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    frequencies = waves @ blocks @ waves.T
    steps = step[chosen, ..., None] * (1 + (n + n[:, None]) / 4)
    frequencies = (frequencies / steps).round() * steps
    blocks = (waves.T @ frequencies @ waves).transpose(3, 4)
    return images.index_copy(0, chosen, blocks.flatten(4).flatten(2, 3))


def crop(images: Tensor, disc: Tensor) -> Tensor:
    """Return `images` as 0 outside the disc (N, 3) of each: x, y, radius in [-1, 1]."""
    return images * _inside(disc, images.shape[-1])


def _inside(disc: Tensor, side_px: int) -> Tensor:
    """Return 1 inside the disc (N, 3) of each image and 0 outside, (N, 1, S, S)."""
    x, y, _ = _plane(side_px, disc.device)
    distance = torch.hypot(x - disc[:, :1], y - disc[:, 1:2])
    inside = ((disc[:, 2:] - distance) * (side_px / 2 / DISC_EDGE_PX)).clamp(0, 1)
    return inside.reshape(-1, 1, side_px, side_px)
