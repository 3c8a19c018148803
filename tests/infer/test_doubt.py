"""Which cells the classifier's confusion is laid upon."""

from dataclasses import replace

from cellrot_infer.doubt import confusion_intervals
from cellrot_infer.intervals import classifier_intervals
from cellrot_infer.types import Correction, Finding, Report
from tests.infer.slides import slide

SLIDE = slide(200)


def width(report: Report, label: str) -> float:
    low, high = confusion_intervals(report)[label]
    return high - low


def confirmed(finding: Finding) -> Correction:
    label = finding.label
    return Correction(finding.frame, finding.number, label, label, "A. B.", "2026")


def test_every_counted_class_has_an_interval() -> None:
    counted = {*SLIDE.provenance.class_names} - {"platelet"}
    assert confusion_intervals(SLIDE).keys() == counted


def test_a_card_without_a_confusion_gives_none() -> None:
    silent = replace(SLIDE.provenance, confusion=())
    assert confusion_intervals(replace(SLIDE, provenance=silent)) == {}


def test_a_reviewed_slide_is_surer_than_one_that_the_model_named() -> None:
    rows = [[60 if i == j else 10 for j in range(11)] for i in range(11)]
    doubtful = replace(SLIDE.provenance, confusion=tuple(map(tuple, rows)))
    named = replace(SLIDE, provenance=doubtful)
    reviewed = replace(named, corrections=tuple(map(confirmed, SLIDE.findings)))

    assert width(reviewed, "erythroblast") < 0.8 * width(named, "erythroblast")


def test_only_what_was_reviewed_is_not_doubted() -> None:
    accepted = tuple(replace(each, decision="accepted") for each in SLIDE.findings)
    parts = accepted[:30], accepted[30:]
    words = tuple(map(confirmed, parts[0]))
    found = confusion_intervals(replace(SLIDE, findings=accepted, corrections=words))

    names = SLIDE.provenance.class_names
    known, named = ([sum(f.label == n for f in part) for n in names] for part in parts)
    counted = [name not in SLIDE.scheme.excluded for name in names]
    expected = classifier_intervals(
        named, SLIDE.provenance.confusion, known=known, counted=counted
    )
    assert found == {n: e for n, e in zip(names, expected, strict=True) if n in found}


def test_unknown_cells_are_left_out() -> None:
    unknown = [replace(finding, decision="unknown") for finding in SLIDE.findings[:100]]
    with_unknown = replace(SLIDE, findings=(*unknown, *SLIDE.findings[100:]))
    without = replace(SLIDE, findings=SLIDE.findings[100:])

    assert confusion_intervals(with_unknown) == confusion_intervals(without)


def test_cells_in_doubt_count_by_their_first_choice() -> None:
    accepted, uncertain = (
        replace(SLIDE, findings=tuple(replace(f, decision=to) for f in SLIDE.findings))
        for to in ("accepted", "uncertain")
    )
    assert confusion_intervals(uncertain) == confusion_intervals(accepted)


def test_a_slide_of_which_nothing_is_known_has_no_interval() -> None:
    unknown = tuple(replace(each, decision="unknown") for each in SLIDE.findings)
    assert confusion_intervals(replace(SLIDE, findings=unknown)) == {}
