"""study.md: what a study found, in words and tables, made from study.json alone."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from cellrot_infer.files import write_text
from cellrot_train.metrics import Estimate
from cellrot_train.protocol import TURNED
from cellrot_train.readout import EMBEDDING, FEATURES
from cellrot_train.study.claims import BASELINE, HARMONIC_2, claims
from cellrot_train.study.figures import figures_of
from cellrot_train.study.plan import (
    FEW,
    HANDMADE,
    LABELS_PER_CLASS,
    MAX_SIZE_RATIO,
    RING,
    WHITENING_CELLS,
    Entry,
    Plan,
    regime,
)
from cellrot_train.study.record import Study
from cellrot_train.study.summary import (
    LOGISTIC,
    NEAREST,
    READOUTS,
    Question,
    difference,
    finals_of,
    flips,
    lines,
    macro_f1,
    records_of,
    score,
    val_merit,
)

PAGE = "study.md"
NOTHING = "-"
COLUMNS = (
    "logistic regression", "turned", "weighted F1", "balanced accuracy", "k-NN",
    "5 a class", "20 a class", "100 a class", "flips", "merged: regression / k-NN",
)  # fmt: skip


def write_page(study: Study, folder: Path) -> None:
    """Write study.md into `folder`."""
    write_text(folder / PAGE, "\n".join(_page(study)) + "\n")


def _page(study: Study) -> Iterator[str]:
    yield "# Does rotation invariance help?"
    yield from _answer(study)
    yield from _setting(study)
    if not study.has_seen_test:
        yield from _choices(study)
        return
    for readout in READOUTS:
        yield from _results(study, readout)
    yield from _claims(study)
    yield from _paintings(study)
    yield from _leaks(study)
    yield from _pictures(study)


def _answer(study: Study) -> Iterator[str]:
    if not study.has_seen_test:
        yield "\nNo test cell has been read yet: figures are of validation cells."
        return
    found = difference(study, HARMONIC_2, BASELINE, EMBEDDING, Question())
    pair = [macro_f1(study, e, EMBEDDING, Question()) for e in (HARMONIC_2, BASELINE)]
    if found is None or pair[0] is None or pair[1] is None:
        yield "\nThe poster's question needs `hnet-r2`, the baseline, `reconstruction`."
        return
    verdict = "Yes" if found.low > 0 else "No" if found.high < 0 else "Not shown"
    yield (
        f"\n**{verdict}.** Purely unsupervised, with reconstruction as the objective, "
        f"`hnet-r2` reaches a macro-F1 of {pair[0].value:.3f} and the baseline "
        f"{pair[1].value:.3f}: {_points(found)} points, read from the code by logistic "
        "regression."
    )


def _setting(study: Study) -> Iterator[str]:
    plan, about = study.plan, study.about
    cells = ", ".join(f"{split} {count}" for split, count in about["cells"].items())
    sizes = "; ".join(
        f"`{name}` {size['all']} ({size['encoder']} of them in the encoder)"
        for name, size in about["parameters"].items()
    )
    yield "\n## What was compared"
    yield f"\n```\n{command(plan)}\n```\n"
    yield (
        f"- Seeds: {plan.seeds}{_more_seeds(plan)}. Epochs: {plan.epochs}, at "
        f"{plan.side_px} px; {plan.steps(about['cells']['train'])} steps for every "
        f"training. Cells: {cells}."
    )
    yield f"- Parameters (within {MAX_SIZE_RATIO - 1:.0%}): {sizes}."
    yield (
        "- Harmonic networks and the plain baseline see images as they lie; `trained "
        "turned` sees them turned and mirrored at random. `mean of 8 turns` averages "
        "over 8 turned copies of each image, at 8 times the price."
    )
    if plan.settings:
        chosen = (f"{name} = {value}" for name, value in plan.settings.items())
        yield f"- Settings of all trainings (`--config`): {', '.join(chosen)}."
    if FEW in plan.objectives:
        yield f"- {FEW}: {LABELS_PER_CLASS} labels a class among all training cells."
    yield (
        "- The frozen vectors are read on five folds of the validation and test cells, "
        "standardised inside the fold. Validation cells teach the readers and chose "
        "the settings; **only test cells are counted, and were read once**. Intervals "
        "(95 %) are over seeds and folds, or seeds and draws of labels."
    )
    told = min(WHITENING_CELLS, about["cells"]["train"])
    yield (
        f"- Features are whitened by one linear map, learned from {told} training "
        "cells without their labels: directions in which near neighbours differ are "
        "shrunk. Every entry is treated alike."
    )
    if not about["slides_known"]:
        yield (
            "- No slide or patient is recorded, so folds are by cell: expect less in "
            "another laboratory."
        )


def _more_seeds(plan: Plan) -> str:
    if plan.rival_seeds <= plan.seeds:
        return ""
    return (
        f"; {plan.rival_seeds} of the harmonic networks and of the baseline trained "
        "turned, where objectives compare views"
    )


def command(plan: Plan) -> str:
    """Return the command that makes this study."""
    rivals = f" --rival-seeds {plan.rival_seeds}" if plan.rival_seeds else ""
    return (
        f"cellrot-train compare --data {plan.data} \\\n"
        f"  --models {','.join(plan.models)} \\\n"
        f"  --objectives {','.join(plan.objectives)} --seeds {plan.seeds}{rivals} \\\n"
        f"  --epochs {plan.epochs} --side-px {plan.side_px}"
    )


def _choices(study: Study) -> Iterator[str]:
    yield "\n## Validation cells: mean macro-F1 of both readers"
    rows = [
        [
            entry.title,
            entry.objective or "untrained",
            *(
                f"{val_merit(study, entry, readout):.3f}"
                if readout in records_of(study, entry)[0].val
                else NOTHING
                for readout in READOUTS
            ),
        ]
        for entry in study.plan.entries()
        if entry.seed == 0 and records_of(study, entry)
    ]
    yield from _table(["", "objective", *READOUTS], rows)


def _results(study: Study, readout: str) -> Iterator[str]:
    yield f"\n## Read from {READOUTS[readout]}"
    yield (
        "\nMacro-F1 of all classes unless the column says otherwise; `turned` asks "
        "about randomly turned cells, and `flips` is the share of them that change "
        "class. `merged` is the accuracy on BloodMNIST's eight classes."
    )
    for objective in study.plan.objectives:
        yield f"\n### {objective} ({regime(objective)})"
        yield from _results_table(study, lines(study, objective), readout)
    untrained = [e for e in lines(study, "") if e.model != RING]
    if readout == EMBEDDING:
        untrained = [e for e in untrained if e.random]
    yield "\n### nothing learned"
    yield from _results_table(study, untrained, readout)


def _results_table(
    study: Study, entries: Iterable[Entry], readout: str
) -> Iterator[str]:
    rows = [
        [entry.title, *_results_row(study, entry, readout)]
        for entry in entries
        if finals_of(study, entry)
    ]
    yield from _table(["", *COLUMNS], rows)


def _results_row(study: Study, entry: Entry, readout: str) -> Iterator[str]:
    def f1(question: Question) -> str:
        return _estimate(macro_f1(study, entry, readout, question))

    def other(question: Question, name: str) -> str:
        return _number(score(study, entry, readout, question, name))

    yield f1(Question())
    yield f1(Question(view=TURNED))
    yield other(Question(), "weighted_f1")
    yield other(Question(), "balanced_accuracy")
    yield f1(Question(NEAREST))
    for labels in (5, 20, 100):
        yield f1(Question(LOGISTIC, labels))
    changed = flips(study, entry, readout)
    yield NOTHING if changed is None else f"{changed:.1%}"
    merged = [
        other(Question(reader, merged=True), "accuracy")
        for reader in (LOGISTIC, NEAREST)
    ]
    yield " / ".join(merged)


def _claims(study: Study) -> Iterator[str]:
    yield "\n## What was asked of invariance"
    yield (
        "\nWhat had to be chosen was chosen on validation cells. No row is left out, "
        "and no seed was chosen."
    )
    for readout in READOUTS:
        yield f"\n### Read from {READOUTS[readout]}"
        rows = [
            [
                claim.text,
                _shown(claim.must, claim.shown),
                _shown(claim.aim, claim.shown),
                _shown(claim.found, claim.shown),
                claim.verdict,
            ]
            for claim in claims(study, readout)
        ]
        yield from _table(["", "must", "aim", "found", ""], rows)


def _paintings(study: Study) -> Iterator[str]:
    rows = []
    for objective in study.plan.objectives:
        for entry in lines(study, objective):
            for final in finals_of(study, entry)[:1]:
                painting, angle = final.painting, final.angle_error_deg
                if painting or angle:
                    rows.append(
                        [
                            entry.title,
                            objective,
                            f"{painting.error:.3f}" if painting else NOTHING,
                            f"{painting.asymmetry:.0%}" if painting else NOTHING,
                            f"{angle.value:.1f}" if angle else NOTHING,
                        ]
                    )
    shares = [
        final.painting.cells
        for entry in study.plan.entries()
        for final in finals_of(study, entry)
        if final.painting
    ]
    yield "\n## Reconstructions and angles"
    if shares:
        yield (
            "\nThe error is the mean square inside the disc, where cells have variance "
            "1. Asymmetry is the share of an image's variance that is not in rings: "
            f"{shares[0]:.0%} in the cells themselves. The angle is the median error "
            "of the predicted angle after a known turn, in degrees. Of the first seed."
        )
    header = ["", "objective", "error", "asymmetry", "angle"]
    yield from _table(header, rows)


def _leaks(study: Study) -> Iterator[str]:
    yield "\n## What the images give away"
    ring = macro_f1(study, Entry(RING), FEATURES, Question())
    chance = 1 / len(study.about["class_names"])
    if ring is not None:
        yield (
            "\n- The outer ring of the image alone, where no cell is, gives a macro-F1 "
            f"of {_estimate(ring)}; guessing gives about {chance:.2f}. So much lies in "
            "light, stain and neighbours, and every figure above may hold some of it."
        )
    alike = study.about["alike_across_splits"]
    yield (
        f"- {alike} pairs of images that probably show the same cell lie in different "
        f"splits, of {sum(study.about['cells'].values())} images."
    )
    strongest = macro_f1(study, Entry(HANDMADE[0]), FEATURES, Question())
    if strongest is not None:
        yield (
            f"- {HANDMADE[0].capitalize()}, which nobody learned, reach "
            f"{strongest.value:.3f}: a learned figure below that means little."
        )


def _pictures(study: Study) -> Iterator[str]:
    yield "\n## Figures"
    for name, words in figures_of(study).items():
        yield f"\n{words}.\n\n![{words}]({name}.png)"


def _table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _shown(value: Estimate | float | None, kind: str) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, Estimate):
        return _points(value) if kind == "points" else _estimate(value)
    formats = {
        "points": f"{100 * value:+.1f}",
        "share": f"{value:.1%}",
        "score": f"{value:.3f}",
        "ratio": f"{value:.2f}",
        "degrees": f"{value:.1f}",
    }
    return formats[kind]


def _points(found: Estimate) -> str:
    value, low, high = (100 * part for part in found)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return NOTHING
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
