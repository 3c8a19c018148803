"""Predictions into words: which class, how sure, and whether to believe it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellrot_infer.card import ModelCard, Thresholds
from cellrot_infer.types import Decision, Predictions


@dataclass(frozen=True, slots=True)
class Verdict:
    """The two likeliest classes of a cell, and what may be made of them.

    `unknown`: unlike the training cells, or larger than any of the class that it looks
    like. `uncertain`: the conformal set, which holds the true class at the coverage of
    the card, has no class or several; or the stain is strange, and nobody knows how
    often the set would be right.
    """

    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    decision: Decision


def decide(
    predictions: Predictions,
    card: ModelCard,
    areas_um2: Sequence[float],
    *,
    at_home: bool = True,
) -> list[Verdict]:
    """Return a verdict a cell, in the order of `predictions`.

    What the thresholds promise holds `at_home`, for cells stained as those of the
    training; of others none is accepted. A cell of more than the card's largest area of
    a class is none of it, whatever it looks like: a white cell under a strange stain
    may look like a platelet.
    """
    rows = zip(
        predictions.probabilities.tolist(),
        predictions.novelty.tolist(),
        areas_um2,
        strict=True,
    )
    verdicts = [_verdict(row, novelty, area, card) for row, novelty, area in rows]
    return verdicts if at_home else [_doubted(verdict) for verdict in verdicts]


def _doubted(verdict: Verdict) -> Verdict:
    if verdict.decision == "unknown":
        return verdict
    return replace(verdict, decision="uncertain")


def _verdict(
    seen: list[float], novelty: float, area_um2: float, card: ModelCard
) -> Verdict:
    fits = [area_um2 <= card.largest_um2.get(name, np.inf) for name in card.class_names]
    probabilities = _among(seen, fits)
    ranked = sorted(zip(probabilities, card.class_names, strict=True), reverse=True)
    (first, label), (second, runner_up) = ranked[:2]
    decision = _decision(probabilities, novelty, card.thresholds)
    if not fits[int(np.argmax(seen))]:
        decision = "unknown"
    return Verdict(label, first, runner_up, second, decision)


def _among(probabilities: list[float], fits: list[bool]) -> list[float]:
    """Return the probabilities given that the class is one of those that fit."""
    total = sum(p for p, fit in zip(probabilities, fits, strict=True) if fit)
    if all(fits) or not total:
        return probabilities
    return [p / total * fit for p, fit in zip(probabilities, fits, strict=True)]


def _decision(
    probabilities: list[float], novelty: float, thresholds: Thresholds
) -> Decision:
    if novelty > thresholds.novelty:
        return "unknown"
    conformal = np.array(probabilities) >= thresholds.set_probability
    return "accepted" if conformal.sum() == 1 else "uncertain"
