"""Another laboratory's cells are classified in the colours that the model knows."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer import Classifier
from cellrot_infer.card import ModelCard
from cellrot_infer.field import Field
from cellrot_infer.frames import read_frame
from cellrot_infer.largeimage import in_tiles
from cellrot_infer.pipeline import FrameResult, analyze_frame, analyze_large
from cellrot_infer.quality import find_focus
from cellrot_infer.restain import (
    MOST_SHARPENED,
    as_at_home,
    restained,
    sharpening,
    unlikeness,
)
from cellrot_infer.segment import segment_field
from cellrot_infer.stain import find_glass
from cellrot_infer.types import Frame, Patches, Predictions, StainColours
from tests.conftest import tiny_card
from tests.infer.images import FRAMES

HOME = read_frame(FRAMES / "pbc_fields" / "BNE_12839.jpg", pixel_size_um=0.1)
STRANGE = read_frame(FRAMES / "bccd" / "BloodImage_00007.jpg", pixel_size_um=0.07)


def colours_of(frame: Frame) -> StainColours:
    _, colours = segment_field(Field.of(frame))
    assert colours is not None
    return colours


def in_colours_of(frame: Frame, wanted: StainColours) -> Patches:
    light = find_glass(frame.pixels).light
    return restained(frame.pixels[None], light, colours_of(frame), wanted)


def angle_degrees(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.degrees(np.arccos(min(np.dot(one, other), 1))))


def test_a_field_takes_on_the_colours_that_are_wanted() -> None:
    wanted = colours_of(HOME)
    (pixels,) = in_colours_of(STRANGE, wanted)
    changed = colours_of(replace(STRANGE, pixels=pixels))

    before = colours_of(STRANGE)
    assert angle_degrees(before.nuclei, wanted.nuclei) > 8
    assert angle_degrees(changed.nuclei, wanted.nuclei) < 2
    assert angle_degrees(changed.red_cells, wanted.red_cells) < 2


def test_empty_glass_keeps_its_colour() -> None:
    (pixels,) = in_colours_of(STRANGE, colours_of(HOME))

    assert np.abs(find_glass(pixels).light - find_glass(STRANGE.pixels).light).max() < 3


def test_colours_that_vary_as_in_one_laboratory_are_left_alone() -> None:
    own = colours_of(HOME)
    turn = np.radians(3)
    red, green, blue = own.nuclei
    near = replace(
        own,
        nuclei=(
            np.cos(turn) * red - np.sin(turn) * green,
            np.sin(turn) * red + np.cos(turn) * green,
            blue,
        ),
    )

    assert unlikeness(near, own) == 0
    assert np.array_equal(in_colours_of(HOME, near)[0], HOME.pixels)


@pytest.mark.parametrize("known", ["own", "wanted"])
def test_without_colours_to_compare_nothing_is_changed(known: str) -> None:
    colours = colours_of(STRANGE)
    own, wanted = (colours, None) if known == "own" else (None, colours)
    patches = STRANGE.pixels[None]

    assert restained(patches, find_glass(STRANGE.pixels).light, own, wanted) is patches


def test_nuclei_that_look_like_red_cells_tell_no_colours() -> None:
    colours = colours_of(HOME)
    alike = StainColours(colours.nuclei, colours.nuclei)

    assert unlikeness(alike, colours) == unlikeness(colours, alike) == 0


def test_the_change_sets_in_little_by_little() -> None:
    wanted = colours_of(HOME)
    light = find_glass(HOME.pixels).light
    angles = np.radians(np.arange(3, 10, 0.5))
    red, green, blue = wanted.red_cells
    turned = zip(
        green * np.cos(angles) - blue * np.sin(angles),
        green * np.sin(angles) + blue * np.cos(angles),
        strict=True,
    )
    steps = [replace(wanted, red_cells=(red, *pair)) for pair in turned]
    images = [restained(HOME.pixels[None], light, own, wanted) for own in steps]

    jumps = [
        np.abs(one.astype(float) - other).mean() for one, other in pairwise(images)
    ]
    assert 0 < max(jumps) < 3 * np.mean(jumps)
    assert jumps[0] == 0


def focus_of(frame: Frame) -> float:
    return find_focus(Field.of(frame).density)


def shown_at_home(frame: Frame, card: ModelCard) -> Patches:
    light = find_glass(frame.pixels).light
    own = colours_of(frame)
    return as_at_home(frame.pixels[None], light, own, focus_of(frame), card)


@given(st.floats(0.25, 0.9), st.floats(0.25, 0.9))
def test_what_is_added_makes_up_for_a_soft_lens(focus: float, wanted: float) -> None:
    amount = sharpening(focus, wanted)

    reached = focus * (1 + amount) / (1 + amount * focus)
    if focus >= wanted:
        assert amount == 0
    else:
        assert reached == pytest.approx(wanted) or amount == MOST_SHARPENED


def test_a_strange_soft_field_becomes_sharper_but_no_sharper_than_home() -> None:
    home = tiny_card(stain=colours_of(HOME), focus=0.45, pixel_size_um=0.07)
    (pixels,) = shown_at_home(STRANGE, home)

    before, after = focus_of(STRANGE), focus_of(replace(STRANGE, pixels=pixels))
    assert before + 0.02 < after < 0.45


def test_a_soft_field_of_home_is_left_alone() -> None:
    home = tiny_card(stain=colours_of(HOME), focus=0.9)

    assert np.array_equal(shown_at_home(HOME, home)[0], HOME.pixels)


class Spy(Classifier):
    """A classifier that keeps the patches that it is given."""

    seen: Patches

    def classify(self, patches: Patches) -> Predictions:
        self.seen = patches
        return super().classify(patches)


def spy_of(model: Path, stain: StainColours | None) -> Spy:
    spy = Spy.load(model)
    spy.card = replace(spy.card, stain=stain)
    return spy


def in_parts(frame: Frame, spy: Classifier) -> FrameResult:
    return analyze_large(in_tiles(frame), spy)


@pytest.mark.parametrize("analyzed", [analyze_frame, in_parts])
def test_the_model_sees_its_own_colours_and_the_report_those_of_the_frame(
    analyzed: Callable[[Frame, Classifier], FrameResult], tiny_model: Path
) -> None:
    plain, spy = spy_of(tiny_model, None), spy_of(tiny_model, colours_of(HOME))
    before, result = analyzed(STRANGE, plain), analyzed(STRANGE, spy)

    raw, changed = plain.seen, spy.seen
    wanted = restained(
        raw, find_glass(STRANGE.pixels).light, colours_of(STRANGE), colours_of(HOME)
    )
    assert np.abs(changed.astype(int) - wanted).mean() < 1.5
    assert np.abs(changed.astype(int) - raw).mean() > 5
    shown = zip(result.patches, before.patches, strict=True)
    assert all(np.array_equal(patch, other) for patch, other in shown)


@pytest.mark.parametrize(("frame", "told"), [(HOME, False), (STRANGE, True)])
def test_a_report_says_that_the_stain_is_not_the_model_s(
    frame: Frame, told: bool, tiny_model: Path
) -> None:
    result = analyze_frame(frame, spy_of(tiny_model, colours_of(HOME)))

    warnings = " ".join(result.record.warnings)
    assert ("stained unlike what the model learned from" in warnings) == told
    assert all(finding.decision != "accepted" for finding in result.findings) == told
