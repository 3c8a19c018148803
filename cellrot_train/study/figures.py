"""The figures of a study, drawn from study.json; reconstructions also from its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellrot_infer.certificate import turn
from cellrot_infer.types import Patches
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.evaluation import RotationCurves
from cellrot_train.figures import (
    COLOURS,
    GREY,
    MARKERS,
    Curve,
    Strip,
    draw_rotation,
    draw_strips,
    plot_line,
    save,
    tidy,
)
from cellrot_train.metrics import Estimate
from cellrot_train.portrait import framed, reconstruct
from cellrot_train.readout import FEATURES, shrink
from cellrot_train.run import load_run
from cellrot_train.study.plan import HANDMADE, Entry, regime
from cellrot_train.study.record import Study
from cellrot_train.study.summary import (
    LOGISTIC,
    READOUTS,
    Question,
    finals_of,
    lines,
    macro_f1,
    records_of,
)

RUNS = "runs"  # folder of the trainings within that of the study
SHOWN_TURNS = 8
WORDS = {
    "bars": "Macro-F1 by objective, logistic regression",
    "labels": "Macro-F1 with few labels, by read-out",
    "rotation": "What changes as cells turn, trained by {}",
    "map": "Codes on a plane (t-SNE), trained by {}",
    "reconstructions": "Cells at 8 angles, and what each auto-encoder makes of them",
}
BUDGETS = (5, 20, 100, 0)
SHADES = {"baseline": 0, "stn": 1, "hnet-r0": 2, "hnet-r2": 3}


def figures_of(study: Study) -> dict[str, str]:
    """Return the names of the figures that `study` has, and what they show."""
    first, *_ = study.plan.objectives
    painted = any(entry.reconstructs for entry in study.plan.entries())
    return {
        name: words.format(first)
        for name, words in WORDS.items()
        if painted or name != "reconstructions"
    }


def write_figures(study: Study, folder: Path, patches: Patches) -> None:
    """Write the figures into `folder`; `patches` are the cells to reconstruct."""
    objective = study.plan.objectives[0]
    draw = {
        "bars": lambda: draw_bars(study),
        "labels": lambda: draw_budgets(study),
        "rotation": lambda: draw_turning(study, objective),
        "map": lambda: draw_map(study, objective),
        "reconstructions": lambda: draw_reconstructions(study, folder / RUNS, patches),
    }
    for name in figures_of(study):
        save(draw[name](), folder / f"{name}.png")


def draw_bars(study: Study) -> Figure:
    """Return the macro-F1 of every entry, a panel an objective, a row a read-out."""
    objectives = ["", *study.plan.objectives]
    size = (2.4 * len(objectives) + 1.5, 0.8 + 2.4 * len(READOUTS))
    figure = Figure(figsize=size, layout="constrained")
    widths = [len(_drawn(study, name)) + 0.5 for name in objectives]
    grid = figure.subplots(
        len(READOUTS), len(objectives), sharey=True, squeeze=False, width_ratios=widths
    )
    for row, readout in zip(grid, READOUTS, strict=True):
        ceiling = macro_f1(study, Entry(HANDMADE[0]), FEATURES, Question())
        for axes, objective in zip(row, objectives, strict=True):
            _bars(axes, study, objective, readout)
            if ceiling is not None:  # what nobody had to learn
                axes.axhline(ceiling.value, color=GREY, linestyle=":", linewidth=1)
        row[0].set_ylabel(f"macro-F1, {READOUTS[readout]}", fontsize=8)
    for axes, objective in zip(grid[0], objectives, strict=True):
        words = f"{objective}\n({regime(objective)})" if objective else "untrained"
        axes.set_title(words, fontsize=9)
    for axes in grid[:-1].flat:
        axes.set_xticklabels([])
    figure.supxlabel(f"dotted: {HANDMADE[0]}", fontsize=8)
    return figure


def draw_budgets(study: Study) -> Figure:
    """Return macro-F1 by labels a class: a panel an objective, a row a read-out."""
    objectives = study.plan.objectives
    shape = len(READOUTS), len(objectives)
    size = (max(6.4, 3.4 * len(objectives)), 0.8 + 2.8 * len(READOUTS))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for row, readout in zip(grid, READOUTS, strict=True):
        for axes, objective in zip(row, objectives, strict=True):
            for entry in _drawn(study, objective):
                _budget_line(axes, study, entry, readout)
            axes.set_xticks(range(len(BUDGETS)), ["5", "20", "100", "all"])
            tidy(axes)
        row[0].set_ylabel(f"macro-F1, {READOUTS[readout]}", fontsize=8)
    for axes, objective in zip(grid[0], objectives, strict=True):
        axes.set_title(objective)
    for axes in grid[-1]:
        axes.set_xlabel("labels a class")
    _legend_below(figure, grid[0][0], columns=3)
    return figure


def _budget_line(axes: Axes, study: Study, entry: Entry, readout: str) -> None:
    found = {
        labels: macro_f1(study, entry, readout, Question(LOGISTIC, labels))
        for labels in BUDGETS
    }
    known = {labels: e for labels, e in found.items() if e is not None}
    places = [BUDGETS.index(labels) for labels in known]
    values = [estimate.value for estimate in known.values()]
    plot_line(axes, _shade(entry), places, values, entry.title)
    low, high = ([e[k] for e in known.values()] for k in (1, 2))
    colour = COLOURS[_shade(entry)]
    axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)


def _legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    handles, words = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        words,
        loc="outside lower center",
        ncols=columns,
        fontsize=7,
        frameon=False,
    )


def draw_turning(study: Study, objective: str) -> Figure:
    """Return flips, macro-F1 and change of the code over the angle."""
    panels: dict[str, dict[str, Curve]] = {
        "flips (share of cells)": {},
        "macro-F1": {},
        "change of the code": {},
    }
    for entry in _drawn(study, objective):
        for final in finals_of(study, entry)[:1]:
            if final.rotation is not None:
                for panel, curve in zip(
                    panels.values(), _curves(final.rotation), strict=True
                ):
                    panel[entry.title] = curve
    return draw_rotation(panels)


def draw_map(study: Study, objective: str) -> Figure:
    """Return where the cells lie by their codes, a panel a model, coloured by class."""
    entries = [
        (entry, final.places)
        for entry in _drawn(study, objective)
        for final in finals_of(study, entry)[:1]
        if final.places
    ]
    figure = Figure(figsize=(2.9 * len(entries), 3.8), layout="constrained")
    grid = figure.subplots(1, len(entries), squeeze=False)[0]
    names = study.about["class_names"]
    for axes, (entry, places) in zip(grid, entries, strict=True):
        _scatter(axes, np.array(places), np.array(study.labels), names)
        axes.set_title(entry.title, fontsize=9)
    _legend_below(figure, grid[0], columns=6)
    return figure


def draw_reconstructions(study: Study, runs: Path, patches: Patches) -> Figure:
    """Return each cell at 8 angles above what each auto-encoder makes of it.

    An encoder that knows an angle paints upright and turns the result back: what it
    paints upright is shown below, the same for every angle where the code is invariant.
    """
    side_px = study.plan.side_px
    encoders = {
        f"{entry.title}\n{entry.objective}": load_run(runs / record.run).encoder
        for objective in study.plan.objectives
        for entry in lines(study, objective)
        for record in records_of(study, entry)[:1]
        if entry.reconstructs and not entry.averaged and not entry.turned
    }
    strips = []
    for patch in patches:
        views = [turn(patch[None], 360 * k / SHOWN_TURNS) for k in range(SHOWN_TURNS)]
        small = shrink(np.concatenate(views), side_px)
        strips.append(Strip("cell", framed(small)))
        strips += _painted(encoders, small)
    return draw_strips(strips)


def _painted(encoders: Mapping[str, AutoEncoder], small: Patches) -> list[Strip]:
    strips = []
    for title, encoder in encoders.items():
        strips.append(Strip(title, framed(reconstruct(encoder, small))))
        if upright := reconstruct_upright(encoder, small):
            strips.append(Strip("painted upright", framed(upright[0])))
    return strips


def reconstruct_upright(encoder: AutoEncoder, small: Patches) -> list[Patches]:
    """Return what `encoder` paints before it turns the result back, if it does."""

    def upright(images: torch.Tensor) -> torch.Tensor:
        encoding = encoder.encode(images)
        assert encoding.orientation is not None
        nowhere = torch.zeros_like(encoding.orientation)
        nowhere[:, 0] = 1
        return encoder.decode(encoding._replace(orientation=nowhere))

    with torch.no_grad():
        blank = torch.zeros(1, 3, *small.shape[1:3])
        known = encoder.encode(blank).orientation is not None
    return [reconstruct(encoder, small, upright)] if known else []


def _drawn(study: Study, objective: str) -> list[Entry]:
    """Return what a figure shows of `objective`; of the untrained, random encoders."""
    found = lines(study, objective)
    return [entry for entry in found if objective or entry.random]


def _bars(axes: Axes, study: Study, objective: str, readout: str) -> None:
    entries = _drawn(study, objective)
    for place, entry in enumerate(entries):
        found = macro_f1(study, entry, readout, Question())
        if found is not None:
            _bar(axes, place, entry, found)
    names = [entry.title.replace(", ", "\n") for entry in entries]
    axes.set_xticks(range(len(entries)), names, rotation=90, fontsize=7)
    tidy(axes)


def _bar(axes: Axes, place: int, entry: Entry, found: Estimate) -> None:
    hatch = "//" if entry.averaged else ".." if entry.turned else ""
    axes.bar(place, found.value, color=_colour(entry), hatch=hatch, edgecolor="white")
    error = [[found.value - found.low], [found.high - found.value]]
    axes.errorbar(place, found.value, error, color="black", capsize=2, linewidth=1)


def _scatter(
    axes: Axes, places: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> None:
    for number, name in enumerate(names):
        own = places[labels == number]
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[(number // len(COLOURS) * 3) % len(MARKERS)]
        words = name.replace("_", " ")
        axes.scatter(
            own[:, 0],
            own[:, 1],
            7,
            color=colour,
            marker=marker,
            label=words,
            linewidth=0,
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _curves(found: RotationCurves) -> tuple[Curve, Curve, Curve]:
    angles = (0, *found.angles_deg, 360)
    flips = [estimate.value for estimate in (*found.flips, found.flips[0])]
    f1 = [estimate.value for estimate in (*found.macro_f1, found.macro_f1[0])]
    spread = next(iter(found.spread.values()))
    return (
        Curve(angles, flips),
        Curve(angles, f1),
        Curve(angles, (0.0, *spread, 0.0)),
    )


def _shade(entry: Entry) -> int:
    """Return the number of an entry's colour, marker and kind of line.

    Each has its own: those of the baseline's variants follow those of the models.
    """
    variant = entry.turned + 2 * entry.averaged
    return SHADES[entry.model] if not variant else len(SHADES) - 1 + variant


def _colour(entry: Entry) -> str:
    return COLOURS[SHADES[entry.model] % len(COLOURS)]
