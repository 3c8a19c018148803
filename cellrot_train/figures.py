"""Figures of runs and evaluations, readable in print and to the colour-blind.

Each function draws one figure and writes nothing; `save` does. Colours are those of
Okabe and Ito (2008), and no figure tells lines apart by colour alone.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cellrot_infer.files import write_bytes
from cellrot_train.confidence import Reliability, RiskCoverage
from cellrot_train.metrics import Counts, Estimate, ratio

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, PINK, "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>"
DOTS_PER_INCH = 150

# columns of history.csv and what they are called
LOSSES = {"loss": "training", "val_loss": "validation"}
SCORES = {"val_macro_f1": "macro-F1", "val_accuracy": "accuracy"}


class Strip(NamedTuple):
    """A row of images with its name, uint8 (N, S, S, 3)."""

    name: str
    images: NDArray[np.uint8]


class Curve(NamedTuple):
    """Values over angles, with their intervals if they have some."""

    angles_deg: Sequence[float]
    values: Sequence[float]
    intervals: Sequence[Estimate] = ()


def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path` as PNG, complete or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    write_bytes(path, content.getvalue())


def draw_history(history: Sequence[Mapping[str, float]]) -> Figure:
    """Return the loss, and where known the validation F1 and accuracy, over epochs."""
    panels = {"loss": LOSSES, "validation score": SCORES}
    known = {name for row in history for name in row}
    shown = {title: names for title, names in panels.items() if known & names.keys()}
    figure = Figure(figsize=(4.2 * len(shown), 3.2), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (title, names) in zip(grid, shown.items(), strict=True):
        for number, name in enumerate(name for name in names if name in known):
            rows = [row for row in history if name in row]
            epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
            plot_line(axes, number, epochs, values, names[name])
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes, legend=True)
    return figure


def draw_confusion(
    counts: Counts, class_names: Sequence[str], title: str = ""
) -> Figure:
    """Return the confusion matrix; shades are shares of the true class."""
    size = 2.4 + 0.52 * len(class_names)
    figure = Figure(figsize=(size + 0.9, size), layout="constrained")
    axes = figure.add_subplot()
    shares = ratio(counts, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [name.replace("_", " ") for name in class_names]
    axes.set_xticks(range(len(names)), names, parse_math=False)
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row, column]:
            text, colour = str(counts[row, column]), "white" if share > 0.5 else "black"
            axes.text(
                column, row, text, ha="center", va="center", color=colour, fontsize=8
            )
    _frameless(axes)
    bar = figure.colorbar(image, shrink=0.6, label="share of the true class")
    bar.outline.set_visible(False)
    return figure


def draw_strips(strips: Sequence[Strip]) -> Figure:
    """Return rows of images, one above the other, each with its name."""
    count = max(len(strip.images) for strip in strips)
    size = (1.5 + 0.95 * count, 0.98 * len(strips))
    tight = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, hspace=0, wspace=0)
    figure = Figure(figsize=size, layout=tight)
    grid = figure.subplots(len(strips), count, squeeze=False)
    for row, strip in zip(grid, strips, strict=True):
        for axes, image in zip(row, strip.images, strict=False):
            axes.imshow(image, interpolation="lanczos")
        for axes in row:
            _frameless(axes)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(strip.name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def draw_confidence(found: Reliability, curve: RiskCoverage) -> Figure:
    """Return accuracy against confidence, and errors against the share answered."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    filled = found.count > 0
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":")  # as it should be
    area = 15 + 250 * found.count[filled] / found.count.max()
    left.scatter(
        found.confidence[filled], found.accuracy[filled], area, BLUE, alpha=0.8
    )
    left.set(xlabel="confidence (large dots: many cells)", ylabel="accuracy")
    left.set(xlim=(0, 1.02), ylim=(0, 1.02))
    left.set_title(f"calibration error {found.error:.3f}", fontsize=10)
    right.step(100 * curve.coverage, 100 * curve.risk, color=ORANGE, where="post")
    right.set(xlabel="cells answered, most confident first (%)", ylabel="errors (%)")
    right.set(xlim=(0, 101), ylim=(0, None))
    right.set_title(f"area under the curve {curve.area:.4f}", fontsize=10)
    tidy(left)
    tidy(right)
    return figure


def draw_rotation(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Return curves over the angle, a panel for each quantity, a line for each name."""
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            _curve(axes, number, curve, name)
        axes.set(xlabel="turned by (degrees)", ylabel=title)
        values = [value for curve in curves.values() for value in curve.values]
        if min(values) < max(values) / 2 or not max(values):
            axes.set_ylim(bottom=0)  # 0 means something; a score of 0.9 needs no 0
        axes.set_xticks(range(0, 361, 90))
        tidy(axes, legend=len(curves) > 1)
    return figure


def _curve(axes: Axes, number: int, curve: Curve, name: str) -> None:
    plot_line(axes, number, curve.angles_deg, curve.values, name)
    if curve.intervals:
        _, low, high = zip(*curve.intervals, strict=True)
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(
            curve.angles_deg, low, high, color=colour, alpha=0.15, linewidth=0
        )


def plot_line(
    axes: Axes, number: int, x: Sequence[float], y: Sequence[float], label: str
) -> None:
    """Draw a line in the colour, the marker and the dashes of its number."""
    marker = MARKERS[number % len(MARKERS)] if len(x) <= 30 else ""
    colour, style = COLOURS[number % len(COLOURS)], ("-", "--", "-.")[number % 3]
    axes.plot(x, y, style, color=colour, marker=marker, markersize=4, label=label)


def tidy(axes: Axes, *, legend: bool = False) -> None:
    """Take away what a plot does not need, and put a legend above it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    if legend:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),  # above, where no line runs
            ncols=2,
            frameon=False,
            fontsize=8,
        )


def _frameless(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
