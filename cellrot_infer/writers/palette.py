"""One colour a class, the same in every report of a model."""

from itertools import chain, cycle

from cellrot_infer.types import Report

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255

# Found by search: any two differ by 16 or more (CIE 1976) to full colour vision and to
# protanopes and deuteranopes, and each stands out from white by 3:1 or more. Colour is
# never alone: whatever has a colour has its name beside it.
PALETTE: tuple[Colour, ...] = (
    (38, 113, 143),
    (173, 98, 8),
    (53, 53, 143),
    (8, 158, 143),
    (158, 23, 38),
    (128, 158, 68),
    (186, 126, 203),
    (8, 68, 8),
    (23, 143, 248),
    (173, 128, 98),
    (128, 8, 98),
    (98, 38, 53),
)
UNDECIDED: Colour = (96, 96, 96)


def class_colours(report: Report) -> dict[str, Colour]:
    """Return a colour for every class of the model and every label of the report.

    The model's classes come first, so that they keep their colours from slide to slide;
    what only a reviewer named follows. From the thirteenth on, colours come again.
    """
    named = {finding.label for finding in report.findings}
    labels = dict.fromkeys(chain(report.provenance.class_names, sorted(named)))
    return dict(zip(labels, cycle(PALETTE), strict=False))


def hex_colour(colour: Colour) -> str:
    """Return `colour` as CSS and SVG write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
