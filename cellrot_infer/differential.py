"""Findings into a differential count: how many cells of each class, and how sure."""

from collections import Counter
from dataclasses import dataclass

from cellrot_infer.intervals import further_cells, wilson
from cellrot_infer.types import UNDECIDED, Finding, Report


@dataclass(frozen=True, slots=True)
class Share:
    """A row of the differential; percentages are of all cells counted, in [0, 100].

    `ci_low` and `ci_high` are Wilson's 95 % interval of `percent`. All three are None
    where the class is not in the denominator: platelets, for example.
    """

    label: str
    count: int
    percent: float | None
    ci_low: float | None
    ci_high: float | None


def differential(report: Report) -> tuple[Share, ...]:
    """Return a row a class of the model, then `uncertain` and `unknown`.

    A class without cells has its row too: none in 100 cells still leaves up to 3.7 %.
    Labels that only a reviewer gave follow the model's classes. What the laboratory's
    scheme excludes is counted but is no part of any percentage.
    """
    counts = row_counts(report)
    classes = report.provenance.class_names
    named = sorted(counts.keys() - {*classes, *UNDECIDED})
    total = denominator(report)
    rows = dict.fromkeys((*classes, *named, *UNDECIDED))  # a report may say anything
    return tuple(
        _share(label, counts[label], total, label not in report.scheme.excluded)
        for label in rows
    )


def row_counts(report: Report) -> Counter[str]:
    """Return the number of cells of each row."""
    return Counter(map(row_label, report.findings))


def denominator(report: Report) -> int:
    """Return how many cells the percentages are of."""
    excluded = report.scheme.excluded
    return sum(row_label(finding) not in excluded for finding in report.findings)


def accepted_counts(report: Report) -> Counter[str]:
    """Return the number of accepted cells of each class."""
    accepted = (each for each in report.findings if each.decision == "accepted")
    return Counter(finding.label for finding in accepted)


def needed_cells(report: Report) -> tuple[int, str] | None:
    """Return how many more cells bring every class to the precision of the scheme.

    With it comes the class that asks for most. None where no class was found.
    """
    counts, total = accepted_counts(report), denominator(report)
    half_width = report.scheme.precision_points / 100
    asked = [
        (further_cells(count, total, half_width), label)
        for label, count in sorted(counts.items())
        if label not in report.scheme.excluded
    ]
    return max(asked, key=lambda entry: entry[0], default=None)


def row_label(finding: Finding) -> str:
    """Return the label of the row that `finding` counts in."""
    return finding.label if finding.decision == "accepted" else finding.decision


def _share(label: str, count: int, total: int, counted: bool) -> Share:
    if not counted:
        return Share(label, count, None, None, None)
    return share_of(label, count, total)


def share_of(label: str, count: int, total: int) -> Share:
    """Return the row of `count` cells among `total`."""
    low, high = wilson(count, total)
    percent = 100 * count / total if total else 0.0
    return Share(label, count, percent, 100 * low, 100 * high)
