"""What invariance has to show for itself, and whether it does: one row a claim.

Every claim is answered from study.json. What has to be chosen, such as the best
objective, the validation cells choose.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cellrot_train.metrics import Estimate
from cellrot_train.study.plan import HARMONIC, Entry, regime
from cellrot_train.study.record import Study
from cellrot_train.study.summary import (
    LOGISTIC,
    NEAREST,
    Question,
    best_on_val,
    difference,
    finals_of,
    flips,
    macro_f1,
    score,
)

POSTER = "reconstruction"
BASELINE = Entry("baseline", POSTER)
HARMONIC_2 = Entry("hnet-r2", POSTER)
QUESTIONS = {
    "k-NN": Question(NEAREST),
    "5 labels a class": Question(LOGISTIC, 5),
    "20 labels a class": Question(LOGISTIC, 20),
}


class Claim(NamedTuple):
    """A claim and what was found; `sign` is -1 where less is better.

    `shown` is the format of its figures. `found` is None where the study has not what
    it takes; `must` and `aim` where a figure is only told. `surely`: an interval must
    lie above 0 too.
    """

    text: str
    must: float | None
    aim: float | None
    found: Estimate | float | None
    shown: str
    sign: int = 1
    surely: bool = False

    @property
    def verdict(self) -> str:
        """What is to be said of it in a word or two."""
        if self.found is None:
            return "not measured"
        if self.must is None or self.aim is None:
            return "told"
        value = self.found if isinstance(self.found, float) else self.found.value
        if self.sign * value < self.sign * self.must:
            return "**falls short**"
        if self.surely and isinstance(self.found, Estimate) and self.found.low <= 0:
            return "**falls short** (the interval holds 0)"
        return "aim reached" if self.sign * value >= self.sign * self.aim else "reached"


def claims(study: Study, readout: str) -> Iterator[Claim]:
    """Yield every claim, as this read-out answers it."""
    yield from _poster(study, readout)
    yield _angle(study)
    yield from _best(study, readout)
    yield from _fair(study, readout)
    yield _painting(study)


def _poster(study: Study, readout: str) -> Iterator[Claim]:
    mean = Entry("baseline", POSTER, averaged=True)
    rivals = (
        ("over the baseline", BASELINE, 0.08, 0.14),
        ("over the baseline averaged over 8 turns", mean, 0.02, 0.05),
    )
    for words, rival, must, aim in rivals:
        found = difference(study, HARMONIC_2, rival, readout, Question())
        text = f"reconstruction: `hnet-r2` {words}"
        yield Claim(text, must, aim, found, "points", surely=True)


def _angle(study: Study) -> Claim:
    entries = [e for e in study.plan.entries() if e.model == "stn" and e.objective]
    errors = [
        final.angle_error_deg.value
        for entry in entries
        if entry.seed == 0
        for final in finals_of(study, entry)
        if final.angle_error_deg is not None
    ]
    worst = max(errors, default=None)
    text = "`stn`: median error of the angle after a turn, its worst training"
    return Claim(text, 5, 2, worst, "degrees", sign=-1)


def _best(study: Study, readout: str) -> Iterator[Claim]:
    """Yield what the best objective without labels reaches with hnet-r2."""
    best = best_on_val(study, _unsupervised(study, ("hnet-r2",)), readout)
    chosen = f"`hnet-r2`, {best.objective if best else 'best objective'}"
    scores = (
        ("logistic regression", Question(), 0.86, 0.89),
        ("k-NN", Question(NEAREST), 0.83, 0.87),
        ("5 labels a class", Question(LOGISTIC, 5), 0.70, 0.76),
        ("20 labels a class", Question(LOGISTIC, 20), 0.79, 0.83),
    )
    for words, question, must, aim in scores:
        found = macro_f1(study, best, readout, question) if best else None
        yield Claim(f"{chosen}: macro-F1, {words}", must, aim, found, "score")
    merged = (
        ("logistic regression", Question(merged=True), 0.965, 0.98),
        ("k-NN", Question(NEAREST, merged=True), 0.93, 0.96),
    )
    for words, question, must, aim in merged:
        share = score(study, best, readout, question, "accuracy") if best else None
        text = f"{chosen}: accuracy of merged classes, {words}"
        yield Claim(text, must, aim, share, "share")


def _fair(study: Study, readout: str) -> Iterator[Claim]:
    """Yield what harmonic nets have over plain ones under the same objective."""
    best = best_on_val(study, _unsupervised(study, HARMONIC), readout)
    plain = Entry("baseline", best.objective, turned=True) if best else None
    name = f"`{best.model}`, {best.objective}" if best else "best harmonic net"
    for words, question in QUESTIONS.items():
        found = (
            difference(study, best, plain, readout, question)
            if best and plain
            else None
        )
        text = f"{name}, over the baseline trained turned: {words}"
        yield Claim(text, 0.01, 0.03, found, "points", surely=True)
    for entry, must, aim in ((best, 0.015, 0.005), (plain, None, None)):
        text = f"`{entry.title}`, {entry.objective}: flips" if entry else "flips"
        share = flips(study, entry, readout) if entry else None
        yield Claim(text, must, aim, share, "share", sign=-1)


def _painting(study: Study) -> Claim:
    errors = [
        [f.painting.error for f in finals_of(study, entry) if f.painting is not None]
        for entry in (HARMONIC_2, BASELINE)
    ]
    found = float(np.mean(errors[0]) / np.mean(errors[1])) if all(errors) else None
    text = "reconstruction: error of `hnet-r2` over that of the baseline"
    return Claim(text, 1.15, 1.0, found, "ratio", sign=-1)


def _unsupervised(study: Study, models: tuple[str, ...]) -> Iterator[Entry]:
    for entry in study.plan.entries():
        known = entry.model in models and entry.objective and entry.seed == 0
        if known and regime(entry.objective) == "purely unsupervised":
            yield entry
