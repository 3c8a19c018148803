"""Predictions into words: which class, how sure, and whether to believe it."""

from dataclasses import dataclass

import numpy as np

from cellrot_infer.card import ModelCard, Thresholds
from cellrot_infer.types import Decision, Predictions


@dataclass(frozen=True, slots=True)
class Verdict:
    """The two likeliest classes of a cell, and what may be made of them.

    `unknown`: unlike the training cells. `uncertain`: the conformal set, which holds
    the true class at the coverage of the card, has no class or several.
    """

    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    decision: Decision


def decide(predictions: Predictions, card: ModelCard) -> list[Verdict]:
    """Return a verdict a cell, in the order of `predictions`."""
    rows = zip(
        predictions.probabilities.tolist(), predictions.novelty.tolist(), strict=True
    )
    return [_verdict(row, novelty, card) for row, novelty in rows]


def _verdict(probabilities: list[float], novelty: float, card: ModelCard) -> Verdict:
    ranked = sorted(zip(probabilities, card.class_names, strict=True), reverse=True)
    (first, label), (second, runner_up) = ranked[:2]
    decision = _decision(probabilities, novelty, card.thresholds)
    return Verdict(label, first, runner_up, second, decision)


def _decision(
    probabilities: list[float], novelty: float, thresholds: Thresholds
) -> Decision:
    if novelty > thresholds.novelty:
        return "unknown"
    conformal = np.array(probabilities) >= thresholds.set_probability
    return "accepted" if conformal.sum() == 1 else "uncertain"
