"""The differential with the classifier's own confusion in its intervals."""

from collections.abc import Sequence
from functools import lru_cache

from cellrot_infer.intervals import Interval, classifier_intervals
from cellrot_infer.types import Finding, Report


def confusion_intervals(report: Report) -> dict[str, Interval]:
    """Return a 95 % interval a counted class, as fractions; empty where unknown.

    The model's validation tells how often it takes one class for another. That holds
    for its first choice, so cells in doubt count by their first choice here; unknown
    cells are unlike all that was validated and stay out. What a reviewer said is not
    doubted. Empty where the card has no confusion or nothing can be counted.
    """
    names = report.provenance.class_names
    reviewed = {(each.frame, each.number) for each in report.corrections}
    counts, known = [0] * len(names), [0] * len(names)
    place = {name: index for index, name in enumerate(names)}
    for finding in report.findings:
        if finding.label in place and finding.decision != "unknown":
            tally = known if _key(finding) in reviewed else counts
            tally[place[finding.label]] += 1
    counted = [name not in report.scheme.excluded for name in names]
    if not report.provenance.confusion or not _any_counted(counts, known, counted):
        return {}
    found = _intervals(
        tuple(counts), tuple(known), tuple(counted), report.provenance.confusion
    )
    rows = zip(names, found, counted, strict=True)
    return {name: interval for name, interval, is_counted in rows if is_counted}


@lru_cache(maxsize=4)  # a page and a table of one report ask for the same
def _intervals(
    counts: tuple[int, ...],
    known: tuple[int, ...],
    counted: tuple[bool, ...],
    confusion: tuple[tuple[int, ...], ...],
) -> tuple[Interval, ...]:
    return classifier_intervals(counts, confusion, known=known, counted=counted)


def _any_counted(
    counts: Sequence[int], known: Sequence[int], counted: Sequence[bool]
) -> bool:
    columns = zip(counts, known, counted, strict=True)
    return any(in_it and named + told > 0 for named, told, in_it in columns)


def _key(finding: Finding) -> tuple[str, int]:
    return finding.frame, finding.number
