"""The picture that a technician holds beside the frame."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.tiles import moved
from cellrot_infer.types import RGB, Finding, Report
from cellrot_infer.writers import overlay
from cellrot_infer.writers.overlay import INK, draw_overlay, overlay_png, scale_bar_um
from cellrot_infer.writers.palette import PALETTE, UNDECIDED, Colour, class_colours
from tests.infer.report_strategies import HOSTILE
from tests.infer.slides import frame_of, slide
from tests.infer.test_palette import contrast_to_white

SLIDE = slide(12)
LARGE = frame_of(SLIDE, SLIDE.frames[0].name)
FRAME = replace(LARGE, pixels=LARGE.pixels[:, : 6 * 256].copy())  # shown as it is
HEIGHT, WIDTH, _ = FRAME.pixels.shape


def only(finding: Finding, **changes: object) -> Report:
    return replace(SLIDE, findings=(replace(finding, **changes),))  # type: ignore[arg-type]


def pixels_of(image: RGB, colour: Colour) -> int:
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


def bar_px(image: RGB) -> int:
    """Return the length of the scale bar, the lowest ink of the image."""
    ink = (image == INK).all(axis=2)
    lowest = ink[np.flatnonzero(ink.any(axis=1))[-1]]
    return int((~lowest[int(lowest.argmax()) :]).argmax())


def test_the_frame_keeps_its_coordinates_and_the_legend_stands_below() -> None:
    image = draw_overlay(replace(SLIDE, findings=()), FRAME)

    np.testing.assert_array_equal(image[:HEIGHT], FRAME.pixels)
    assert image.shape[0] > HEIGHT
    assert image.shape[1] == WIDTH


def test_a_large_frame_is_shown_a_half_as_wide_to_the_pixel() -> None:
    first, height, width = SLIDE.findings[0], *LARGE.pixels.shape[:2]
    colour = class_colours(SLIDE)[first.label]

    image = draw_overlay(only(first), LARGE)

    assert image.shape[1] == width // 2
    below = image[height // 4 : height // 2]  # far from the cell
    halves = LARGE.pixels.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    assert np.abs(below - halves[height // 4 :]).max() <= 0.5
    for x_px, y_px in first.cell.outline[::8]:
        around = image[y_px // 2 - 1 : y_px // 2 + 2, x_px // 2 - 1 : x_px // 2 + 2]
        assert (around == colour).all(axis=2).any()


def test_the_scale_bar_of_a_large_frame_is_as_long_as_it_says() -> None:
    image = draw_overlay(replace(SLIDE, findings=()), LARGE)
    width_um = LARGE.pixels.shape[1] * LARGE.pixel_size_um

    assert abs(bar_px(image) - scale_bar_um(width_um) / (2 * 0.1)) <= 2


def test_the_frame_that_was_given_is_not_drawn_on() -> None:
    before = FRAME.pixels.copy()
    draw_overlay(SLIDE, FRAME)
    np.testing.assert_array_equal(FRAME.pixels, before)


def test_an_outline_is_drawn_where_it_is_in_the_colour_of_its_class() -> None:
    first = SLIDE.findings[0]
    colour = class_colours(SLIDE)[first.label]

    image = draw_overlay(only(first), FRAME)

    for x_px, y_px in first.cell.outline[::8]:
        assert tuple(image[y_px, x_px]) == colour


def test_a_cell_without_an_outline_is_drawn_as_its_box() -> None:
    first = SLIDE.findings[0]
    boxed = only(first, cell=replace(first.cell, outline=()))

    image = draw_overlay(boxed, FRAME)

    box = first.cell.box
    below = box.y_px + box.height_px, box.x_px + box.width_px // 2
    assert tuple(image[below]) == class_colours(SLIDE)[first.label]


def test_a_cell_in_doubt_has_a_broken_grey_outline() -> None:
    first = SLIDE.findings[0]
    around = np.s_[first.cell.box.y_px + 20 : HEIGHT, :]  # below its name

    full = draw_overlay(only(first), FRAME)[around]
    broken = draw_overlay(only(first, decision="uncertain"), FRAME)[around]

    drawn = pixels_of(full, class_colours(SLIDE)[first.label])
    assert 0.3 < pixels_of(broken, UNDECIDED) / drawn < 0.8


def test_cells_smaller_than_a_name_have_none() -> None:
    first = SLIDE.findings[0]
    small = moved(first.cell, 400, 400, 0.1)
    colour = class_colours(SLIDE)[first.label]

    with_name = draw_overlay(only(first), FRAME)[:HEIGHT]
    without = draw_overlay(only(first, cell=small), FRAME)[:HEIGHT]

    changed = np.argwhere((without != FRAME.pixels).any(axis=2))
    box = small.box
    assert changed.min(axis=0).tolist() >= [box.y_px - 3, box.x_px - 3]
    assert changed[:, 0].max() <= box.y_px + box.height_px + 3
    assert changed[:, 1].max() <= box.x_px + box.width_px + 3
    assert pixels_of(with_name, colour) > 20 * pixels_of(without, colour)


@pytest.mark.parametrize(
    ("decision", "name"),
    [("accepted", "1 blast"), ("uncertain", "1 blast?"), ("unknown", "1 unknown")],
)
def test_a_name_says_what_may_be_believed(decision: str, name: str) -> None:
    (finding,) = only(SLIDE.findings[0], label="blast", decision=decision).findings
    assert overlay._name(finding) == name


@pytest.mark.parametrize("colour", [*PALETTE, UNDECIDED])
def test_a_name_can_be_read_on_its_colour(colour: Colour) -> None:
    is_white = overlay._ink_on(colour) == overlay.WHITE
    contrast = contrast_to_white(colour)
    assert (contrast if is_white else 21 / contrast) >= 4.5


def test_a_name_hides_no_other_name() -> None:
    first = SLIDE.findings[0]
    other = next(each for each in SLIDE.findings if each.label != first.label)
    beside = replace(other, cell=first.cell)
    colour = class_colours(SLIDE)[first.label]

    alone = pixels_of(draw_overlay(only(first), FRAME)[:HEIGHT], colour)
    both = draw_overlay(replace(SLIDE, findings=(first, beside)), FRAME)[:HEIGHT]

    assert pixels_of(both, colour) > 0.5 * alone


def test_the_legend_has_every_row_of_the_count_however_narrow() -> None:
    narrow = replace(FRAME, pixels=FRAME.pixels[:, :400].copy())
    colours = class_colours(SLIDE)

    legend = draw_overlay(SLIDE, narrow)[HEIGHT:]

    for finding in SLIDE.findings:
        accepted = finding.decision == "accepted"
        colour = colours[finding.label] if accepted else UNDECIDED
        assert pixels_of(legend, colour) >= 9**2


def test_a_class_in_doubt_is_not_in_the_legend() -> None:
    doubtful = only(SLIDE.findings[0], decision="uncertain")

    legend = draw_overlay(doubtful, FRAME)[HEIGHT:]

    assert pixels_of(legend, class_colours(SLIDE)[SLIDE.findings[0].label]) == 0


def test_a_frame_as_wide_as_an_overlay_may_be_is_shown_as_it_is() -> None:
    widest = replace(FRAME, pixels=np.full((40, 1600, 3), 200, np.uint8))
    assert draw_overlay(replace(SLIDE, findings=()), widest).shape[1] == 1600


def test_cells_of_other_frames_are_left_out() -> None:
    elsewhere = only(SLIDE.findings[0], frame="another.png")
    nothing = draw_overlay(replace(SLIDE, findings=()), FRAME)
    np.testing.assert_array_equal(draw_overlay(elsewhere, FRAME), nothing)


@given(st.floats(0.5, 1e5))
def test_a_scale_bar_is_a_round_length_that_fits(width_um: float) -> None:
    length_um = scale_bar_um(width_um)

    assert 0.08 * width_um <= length_um <= 0.2 * width_um * (1 + 1e-9)
    assert f"{length_um:.0e}"[0] in "125"


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    image = draw_overlay(replace(SLIDE, findings=()), FRAME)

    assert abs(bar_px(image) - scale_bar_um(WIDTH * 0.1) / 0.1) <= 2


@pytest.mark.parametrize("label", HOSTILE)
def test_any_label_can_be_drawn(label: str) -> None:
    image = draw_overlay(only(SLIDE.findings[0], label=label), FRAME)
    assert image.shape[1] == WIDTH


def test_the_png_holds_the_picture_in_colours_that_no_eye_tells_apart() -> None:
    drawn = draw_overlay(SLIDE, FRAME)

    data = np.frombuffer(overlay_png(SLIDE, FRAME), np.uint8)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)

    assert decoded.shape == drawn.shape
    differs = decoded.astype(int) - drawn
    assert np.sqrt((differs**2).mean()) < 5
    for colour in (INK, UNDECIDED, *class_colours(SLIDE).values()):
        assert pixels_of(decoded, colour) >= pixels_of(drawn, colour)
