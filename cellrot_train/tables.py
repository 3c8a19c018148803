"""What a person reads in the terminal of an evaluation or of a check."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from cellrot_train.check import Remark, count_labels
from cellrot_train.data import SPLITS, PatchSet
from cellrot_train.evaluation import ClassifierFigures, Evaluation, RotationCurves
from cellrot_train.metrics import Estimate
from cellrot_train.protocol import ORIGINAL, TURNED, Protocol

NAMES = {
    "macro_f1": "macro-F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "mcc": "Matthews' correlation",
}
SHOWN_NAMES = 3  # of each kind of remark; all are in the file


def evaluation_tables(evaluation: Evaluation) -> Iterator[RenderableType]:
    """Yield the tables and lines of an evaluation."""
    yield f"{evaluation.cells} cells; intervals (95 %) are over {evaluation.resampled}"
    if evaluation.classifier is not None:
        yield from _classifier_tables(evaluation.classifier)
    for name, probe in evaluation.probes.items():
        yield _probe_table(name, probe)
        if probe.left_out:
            yield f"too few cells to probe: {escape(', '.join(probe.left_out))}"
    yield from _rotation_lines(evaluation.rotation)
    yield from (escape(note) for note in evaluation.notes)


def check_tables(
    patch_set: PatchSet, remarks: Sequence[Remark]
) -> Iterator[RenderableType]:
    """Yield the counts of a patch set and what is wrong with it."""
    table = _table("labels", *SPLITS, "all")
    for label, counts in count_labels(patch_set).items():
        cells = [counts[split] for split in SPLITS]
        name = escape(label) if label else "(no label)"
        table.add_row(name, *map(str, [*cells, sum(cells)]))
    yield table
    kinds: dict[str, list[Remark]] = defaultdict(list)
    for remark in remarks:
        kinds[remark.kind].append(remark)
    for kind, found in kinds.items():
        yield f"[bold]{kind}[/bold]: {len(found)}"
        for remark in found[:SHOWN_NAMES]:
            names = f"{', '.join(remark.names)}: " if remark.names else ""
            yield "  " + escape(names + remark.reason)
        if len(found) > SHOWN_NAMES:
            yield f"  and {len(found) - SHOWN_NAMES} more"
    if not remarks:
        yield f"{len(patch_set)} images, nothing to remark"


def _classifier_tables(found: ClassifierFigures) -> Iterator[RenderableType]:
    by_scheme: dict[str, dict[str, dict[str, Estimate]]] = defaultdict(dict)
    for key, scores in found.scores.items():
        scheme, view = key.split(", ")
        by_scheme[scheme][view] = dict(scores)
    for scheme, views in by_scheme.items():
        table = _table(f"classifier, {scheme}", "upright", "randomly turned")
        for name, title in NAMES.items():
            columns = (views[view][name] for view in (ORIGINAL, TURNED))
            table.add_row(title, *map(_estimate, columns))
        yield table
    table = _table("class", "cells", "precision", "recall", "F1")
    for row in found.classes:
        parts = (f"{row.precision.value:.3f}", f"{row.recall.value:.3f}")
        table.add_row(escape(row.name), str(row.support), *parts, _estimate(row.f1))
    yield table
    errors = [
        f"{error:.1%} of the surest {share}" for share, error in found.errors.items()
    ]
    yield f"a random turn changes the class of {found.flips.value:.1%} of the cells"
    yield f"calibration error {_estimate(found.calibration_error)}"
    yield f"errors: {', '.join(errors).replace('the surest 100%', 'all')}"


def _probe_table(name: str, probe: Protocol) -> Table:
    table = _table(name, "reader", "labels", "macro-F1", "turned", "flips")
    for row in probe.rows:
        if row.view != ORIGINAL:
            continue
        labels = row.labels_per_class
        turned = probe.row(row.scheme, row.reader, labels, TURNED)
        flips = f"{turned.flips.value:.1%}" if turned.flips else ""
        table.add_row(
            row.scheme,
            "regression" if row.reader == "logistic regression" else row.reader,
            f"{labels}/class" if labels else "all",
            _estimate(row.scores["macro_f1"]),
            f"{turned.scores['macro_f1'].value:.3f}",
            flips,
        )
    return table


def _rotation_lines(found: RotationCurves) -> Iterator[str]:
    angles = f"turned in steps of {found.angles_deg[0]} degrees ({found.cells} cells)"
    if found.flips:
        flips = [flip.value for flip in found.flips[1:]]
        worst = max(range(len(flips)), key=flips.__getitem__)
        lowest = min(estimate.value for estimate in found.macro_f1)
        yield (
            f"{angles}: {sum(flips) / len(flips):.1%} flip, at worst "
            f"{flips[worst]:.1%} at {found.angles_deg[worst]}; macro-F1 at least "
            f"{lowest:.3f}"
        )
    for name, spreads in found.spread.items():
        mean = sum(spreads) / len(spreads)
        yield f"spread of the {name}: mean {mean:.4f}, at worst {max(spreads):.4f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _estimate(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
