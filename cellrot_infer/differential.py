"""Findings into a differential count: how many cells of each class, and how sure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cellrot_infer.intervals import wilson
from cellrot_infer.types import Finding

UNDECIDED = ("uncertain", "unknown")


@dataclass(frozen=True, slots=True)
class Share:
    """A row of the differential; percentages are of all cells found, in [0, 100].

    `ci_low` and `ci_high` are Wilson's 95 % interval of `percent`.
    """

    label: str
    count: int
    percent: float
    ci_low: float
    ci_high: float


def differential(
    findings: Sequence[Finding], class_names: Sequence[str]
) -> tuple[Share, ...]:
    """Return a row a class, then `uncertain` and `unknown`.

    A class without cells has its row too: none in 100 cells still leaves up to 3.7 %.
    Labels that only a reviewer gave follow the model's classes.
    """
    counts = Counter(map(row_label, findings))
    named = sorted(counts.keys() - {*class_names, *UNDECIDED})
    total = len(findings)
    return tuple(
        _share(label, counts[label], total)
        for label in (*class_names, *named, *UNDECIDED)
    )


def row_label(finding: Finding) -> str:
    """Return the label of the row that `finding` counts in."""
    return finding.label if finding.decision == "accepted" else finding.decision


def _share(label: str, count: int, total: int) -> Share:
    low, high = wilson(count, total)
    percent = 100 * count / total if total else 0.0
    return Share(label, count, percent, 100 * low, 100 * high)
