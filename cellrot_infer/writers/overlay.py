"""The frame as an image with its cells outlined and named, a legend and a scale bar.

The legend stands under the frame, so that it hides no cell. A large frame is shown a
half or a third as wide, to the pixel, and in 256 colours, which no eye tells from all:
an overlay is to look at, GeoJSON to measure in.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from cellrot_infer.differential import row_label
from cellrot_infer.types import RGB, Box, Finding, Frame, Report
from cellrot_infer.writers.outlines import Corners, drawn_outline
from cellrot_infer.writers.palette import PALETTE, UNDECIDED, Colour, class_colours
from cellrot_infer.writers.png import indexed_png
from cellrot_infer.writers.text import shown
from cellrot_infer.writers.thumbnail import shrunk

WHITE: Colour = (255, 255, 255)
INK: Colour = (38, 38, 38)
BLACK: Colour = (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_CAP_PX = 21.0  # height of a capital letter at scale 1
MAX_SIDE_PX = 1600  # of the frame in the overlay
BAR_SHARE = 0.2  # a scale bar spans at most this part of the width


class Shape(NamedTuple):
    """A finding in the pixels of the overlay, with the corners that one sees."""

    finding: Finding
    box: Box
    outline: Corners


def draw_overlay(report: Report, frame: Frame) -> RGB:
    """Return `frame` with the cells that `report` found in it, and a legend below.

    Accepted cells have a full outline, uncertain and unknown ones a grey broken one.
    Cells that are smaller than a name, as on a whole slide, have none.
    The image is as wide as the frame, or a whole fraction of it where that is more than
    `MAX_SIDE_PX`, and higher by the legend.
    """
    times = -(-max(frame.pixels.shape[:2]) // MAX_SIDE_PX)
    found = (finding for finding in report.findings if finding.frame == frame.name)
    shapes = [_shape(finding, times) for finding in found]
    frame = _shrunk_frame(frame, times)
    colours = {**class_colours(report), "uncertain": UNDECIDED, "unknown": UNDECIDED}
    text_px = _text_size_px(frame)
    image = np.vstack([frame.pixels, _legend(frame, shapes, colours, text_px)])
    canvas = image[: frame.pixels.shape[0]]
    for shape in shapes:
        _draw_outline(canvas, shape, colours[row_label(shape.finding)], text_px)
    named = [each for each in shapes if _has_room(each.box, text_px)]
    _draw_names(canvas, named, colours, text_px)  # last: no outline crosses a name
    return image


def _shrunk_frame(frame: Frame, times: int) -> Frame:
    """Return `frame` with one pixel where `times` x `times` were."""
    if times == 1:
        return frame
    pixel_size = replace(frame.pixel_size, um=frame.pixel_size_um * times)
    return replace(frame, pixels=shrunk(frame.pixels, times), pixel_size=pixel_size)


def _shape(finding: Finding, times: int) -> Shape:
    """Return the shape of `finding` where `times` pixels became one."""
    box = finding.cell.box
    place, size = (box.x_px, box.y_px), (box.width_px, box.height_px)
    small = Box(*(part // times for part in place + size))
    return Shape(finding, small, drawn_outline(finding.cell, times) // times)


def overlay_png(report: Report, frame: Frame) -> bytes:
    """Return `draw_overlay` as the bytes of a PNG file."""
    drawn = *PALETTE, UNDECIDED, WHITE, INK, BLACK
    return indexed_png(draw_overlay(report, frame), drawn)


def scale_bar_um(width_um: float) -> float:
    """Return the length of a scale bar: 1, 2 or 5 times a power of ten."""
    longest = width_um * BAR_SHARE
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def _text_size_px(frame: Frame) -> float:
    """Return the height of a capital: readable where the whole frame is on screen."""
    return max(9.0, math.sqrt(frame.pixels.shape[0] * frame.pixels.shape[1]) / 90)


def _has_room(box: Box, text_px: float) -> bool:
    """Return whether a name would not hide the cell: on whole slides all would."""
    return min(box.width_px, box.height_px) > 2 * text_px


def _draw_outline(canvas: RGB, shape: Shape, colour: Colour, text_px: float) -> None:
    finding, box, outline = shape
    least_side_px = min(box.width_px, box.height_px)
    line_px = max(1, round(min(text_px / 5, least_side_px / 12)))
    # A light casing keeps the line visible on dark chromatin and on pale plasma alike.
    cv2.polylines(canvas, [outline], True, WHITE, line_px + 2, cv2.LINE_AA)
    if finding.decision == "accepted":
        cv2.polylines(canvas, [outline], True, colour, line_px, cv2.LINE_AA)
    else:
        dashes = _dashes(outline, dash_px=4.0 * line_px)
        cv2.polylines(canvas, dashes, False, colour, line_px, cv2.LINE_AA)


def _dashes(outline: Corners, dash_px: float) -> list[Corners]:
    """Return every other piece of the closed `outline` (N, 2), each `dash_px` long."""
    closed = np.vstack([outline, outline[:1]]).astype(np.float64)
    along = np.hstack([0, np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
    pairs = max(1, round(along[-1] / dash_px / 2))  # of a dash and a gap
    steps = np.linspace(0, along[-1], pairs * 4, endpoint=False)
    walk = np.stack([np.interp(steps, along, axis) for axis in closed.T], axis=1)
    return list(np.rint(walk).astype(np.int32).reshape(pairs, 4, 2)[:, :3])


def _draw_names(
    canvas: RGB,
    shapes: Sequence[Shape],
    colours: dict[str, Colour],
    text_px: float,
) -> None:
    taken: list[Box] = []
    pad = round(text_px * 0.4)
    for finding, box, _ in shapes:
        colour, text = colours[row_label(finding)], _name(finding)
        width, height = _text_extent(text, text_px)
        size = width + 2 * pad, height + 2 * pad
        places = list(_name_places(box, size, canvas.shape))
        place = next((p for p in places if not _overlaps(p, taken)), places[0])
        taken.append(place)
        x_px, y_px = place.x_px, place.y_px
        far = x_px + place.width_px, y_px + place.height_px
        cv2.rectangle(canvas, (x_px, y_px), far, colour, cv2.FILLED)
        _write(canvas, text, (x_px + pad, far[1] - pad), text_px, _ink_on(colour))


def _name(finding: Finding) -> str:
    if finding.decision == "unknown":
        return f"{finding.number} unknown"
    mark = "?" if finding.decision == "uncertain" else ""
    return f"{finding.number} {_ascii(finding.label)}{mark}"


def _name_places(
    box: Box, size: tuple[int, int], shape: tuple[int, ...]
) -> Iterator[Box]:
    """Yield where the name of a cell may stand, best first: above, below, inside."""
    width, height = size
    left = _within(box.x_px, shape[1] - width)
    for y_px in (box.y_px - height, box.y_px + box.height_px, box.y_px):
        yield Box(left, _within(y_px, shape[0] - height), width, height)


def _overlaps(place: Box, taken: Sequence[Box]) -> bool:
    left, top = place.x_px, place.y_px
    right, below = left + place.width_px, top + place.height_px
    return any(
        left < other.x_px + other.width_px
        and other.x_px < right
        and top < other.y_px + other.height_px
        and other.y_px < below
        for other in taken
    )


def _legend(
    frame: Frame,
    shapes: Sequence[Shape],
    colours: dict[str, Colour],
    text_px: float,
) -> RGB:
    """Return the strip under the frame: a swatch and a count a class, a scale bar."""
    counts = Counter(row_label(each.finding) for each in shapes)
    rows = [label for label in colours if counts[label]]
    entries = [(colours[label], f"{_ascii(label)} {counts[label]}") for label in rows]
    width_px, line_px = frame.pixels.shape[1], round(text_px * 2.2)
    places = _flow([text for _, text in entries], width_px, text_px)
    lines = max([line for _, line in places], default=0) + 1
    strip = np.full((line_px * (lines + 2), width_px, 3), 255, np.uint8)
    for (colour, text), (x_px, line) in zip(entries, places, strict=True):
        base = round(line_px * (line + 1) + text_px * 0.25)
        cap = round(text_px)
        cv2.rectangle(strip, (x_px, base - cap), (x_px + cap, base), colour, -1)
        _write(strip, text, (x_px + round(1.6 * cap), base), text_px, INK)
    _draw_scale_bar(strip, frame.pixel_size_um, text_px)
    return strip


def _flow(texts: Sequence[str], width_px: int, text_px: float) -> list[tuple[int, int]]:
    """Return (x_px, line) of each entry of the legend, set as words are in a text."""
    margin, places = round(text_px), []
    x_px, line = margin, 0
    for text in texts:
        entry_px = _text_extent(text, text_px)[0] + round(4 * text_px)
        if x_px > margin and x_px + entry_px > width_px:
            x_px, line = margin, line + 1
        places.append((x_px, line))
        x_px += entry_px
    return places


def _draw_scale_bar(strip: RGB, pixel_size_um: float, text_px: float) -> None:
    length_um = scale_bar_um(strip.shape[1] * pixel_size_um)
    length_px = round(length_um / pixel_size_um)
    margin, thick = round(text_px), max(2, round(text_px / 4))
    y_px = strip.shape[0] - margin
    right = margin + length_px, y_px
    cv2.rectangle(strip, (margin, y_px - thick), right, INK, cv2.FILLED)
    at = margin + length_px + round(0.6 * text_px), y_px
    _write(strip, f"{length_um:g} um", at, text_px, INK)


def _write(
    canvas: RGB, text: str, origin: tuple[int, int], text_px: float, colour: Colour
) -> None:
    scale, weight = text_px / FONT_CAP_PX, max(1, round(text_px / 14))
    cv2.putText(canvas, text, origin, FONT, scale, colour, weight, cv2.LINE_AA)


def _text_extent(text: str, text_px: float) -> tuple[int, int]:
    scale, weight = text_px / FONT_CAP_PX, max(1, round(text_px / 14))
    (width, height), _ = cv2.getTextSize(text, FONT, scale, weight)
    return width, height


def _ascii(label: str) -> str:
    """Return `label` in the letters that OpenCV can draw, in at most 28 of them."""
    plain = shown(label).replace("_", " ").encode("ascii", "replace").decode()
    return plain if len(plain) <= 28 else f"{plain[:25]}..."


def _ink_on(colour: Colour) -> Colour:
    """Return white or near black, whichever reads better on `colour`."""
    red, green, blue = ((part / 255) ** 2.2 for part in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return WHITE if luminance < 0.18 else BLACK


def _within(value: int, largest: int) -> int:
    return max(0, min(value, largest))
