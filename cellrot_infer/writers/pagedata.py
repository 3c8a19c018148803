"""What the script of the HTML report works on: the cells as columns of numbers."""

import string
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from cellrot_infer.lineages import lineage_of
from cellrot_infer.types import FrameRecord, Report
from cellrot_infer.writers.markup import readable
from cellrot_infer.writers.outlines import Corners, drawn_outline
from cellrot_infer.writers.palette import UNDECIDED, class_colours, hex_colour
from cellrot_infer.writers.text import file_stem, shown

DECISIONS = ("accepted", "uncertain", "unknown")


def page_data(report: Report, digest: str) -> dict[str, Any]:
    """Return labels, frames and cells; a cell names its label and frame by index.

    `digest` is the hash of the report, which its corrections will name.
    """
    labels = page_labels(report)
    index = {label: place for place, label in enumerate(labels)}
    return {
        "sha256": digest,
        "stem": file_stem(report.name),
        "posed": any(each.orientation_rad is not None for each in report.findings),
        "labels": list(_label_entries(report, labels)),
        "frames": [_frame_entry(frame) for frame in report.frames],
        "cells": _cell_columns(report, index),
        "ratios": [
            {
                "above": [index[label] for label in rule.above if label in index],
                "below": [index[label] for label in rule.below if label in index],
            }
            for rule in report.scheme.ratios
        ],
    }


def page_labels(report: Report) -> tuple[str, ...]:
    """Return every label that the page may need, those of the model first.

    After them come the labels that the report holds, then what the laboratory's scheme
    knows beyond the model: a reviewer may see a blast that the model cannot name.
    """
    found = sorted({finding.label for finding in report.findings})
    scheme = report.scheme
    lineages = chain.from_iterable(entry.classes for entry in scheme.lineages)
    named = (report.provenance.class_names, found, scheme.excluded, sorted(lineages))
    return tuple(dict.fromkeys(chain(*named)))


def letters(labels: Iterable[str]) -> dict[str, str]:
    """Return a letter a label: from the starts of its words, its letters, what is left.

    Labels that come first choose first; without a free letter a label has none.
    """
    free = dict.fromkeys(string.ascii_lowercase)
    given = {}
    for label in labels:
        words = label.lower().replace("_", " ").split()
        wishes = chain((word[0] for word in words), label.lower(), free)
        letter = next((wish for wish in wishes if wish in free), "")
        free.pop(letter, None)
        given[label] = letter
    return given


def _label_entries(
    report: Report, labels: tuple[str, ...]
) -> Iterator[dict[str, str | bool]]:
    colours = class_colours(report)
    keys = letters(labels)
    for label in labels:
        yield {
            "name": label,
            "shown": readable(label),
            "colour": hex_colour(colours.get(label, UNDECIDED)),
            "key": keys[label],
            "counted": label not in report.scheme.excluded,
            "lineage": shown(lineage_of(label, report.scheme)),
            "offered": label not in report.provenance.class_names,
        }


def _frame_entry(frame: FrameRecord) -> dict[str, Any]:
    return {
        "name": frame.name,
        "shown": shown(frame.name),
        "sha256": frame.sha256,
        "width": frame.width_px,
        "height": frame.height_px,
        "pixel_size_um": frame.pixel_size.um,
    }


def _cell_columns(report: Report, index: dict[str, int]) -> dict[str, list[Any]]:
    frames = {frame.name: place for place, frame in enumerate(report.frames)}
    found = report.findings
    return {
        "frame": [frames[each.frame] for each in found],
        "number": [each.number for each in found],
        "x_px": [each.cell.box.x_px for each in found],
        "y_px": [each.cell.box.y_px for each in found],
        "width_px": [each.cell.box.width_px for each in found],
        "height_px": [each.cell.box.height_px for each in found],
        "area_um2": [round(each.cell.area_um2, 1) for each in found],
        "label": [index[each.label] for each in found],
        "probability": [round(each.probability, 4) for each in found],
        # -1 where there is none: a reviewer has no second choice
        "runner_up": [index.get(each.runner_up, -1) for each in found],
        "runner_up_probability": [round(e.runner_up_probability, 4) for e in found],
        "decision": [DECISIONS.index(each.decision) for each in found],
        "novelty": [round(each.novelty, 3) for each in found],
        "outline": [_steps(drawn_outline(each.cell)) for each in found],
    }


def _steps(corners: Corners) -> list[int]:
    """Return the first corner and the step to each next one: x, y, dx, dy, dx, ..."""
    steps: list[int] = np.diff(corners, axis=0, prepend=0).ravel().tolist()
    return steps
