"""Colours that stay apart for readers who see fewer of them."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from cellrot_infer.types import Provenance, Report
from cellrot_infer.writers.palette import (
    PALETTE,
    UNDECIDED,
    Colour,
    class_colours,
    hex_colour,
)

Array = NDArray[np.float64]

# Linear RGB as dichromats see it: Machado, Oliveira, Fernandes 2009, severity 1.
VISION = {
    "full": np.eye(3),
    "protanope": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranope": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
# Linear sRGB to CIE XYZ, white point D65 (IEC 61966-2-1).
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
DISTANCE = 16  # CIE 1976; 2.3 is just noticeable side by side, these are not


def linear(colour: Colour) -> Array:
    c = np.array(colour) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour: Colour, vision: Array) -> Array:
    seen = np.clip(vision @ linear(colour), 0, 1)
    xyz = TO_XYZ @ seen / (TO_XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(colours: tuple[Colour, ...], vision: Array) -> float:
    seen = [lab(colour, vision) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def contrast_to_white(colour: Colour) -> float:
    return 1.05 / (0.05 + float(TO_XYZ[1] @ linear(colour)))


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart_for(vision: str) -> None:
    assert nearest((*PALETTE, UNDECIDED), VISION[vision]) >= DISTANCE


def test_the_check_rejects_red_beside_green() -> None:
    red_green = ((200, 80, 60), (125, 125, 55))

    assert nearest(red_green, VISION["full"]) >= DISTANCE
    assert nearest(red_green, VISION["deuteranope"]) < DISTANCE


def test_every_colour_stands_out_from_paper() -> None:
    assert min(map(contrast_to_white, (*PALETTE, UNDECIDED))) >= 3


def test_a_class_keeps_its_colour_whatever_else_was_found() -> None:
    model = Provenance("m", "0", ("blast", "monocyte"), "CPU", (), (), "2026")

    colours = class_colours(Report("slide", model, (), ()))

    assert colours == {"blast": PALETTE[0], "monocyte": PALETTE[1]}


def test_colours_are_written_as_css_reads_them() -> None:
    assert hex_colour((8, 158, 255)) == "#089eff"
