"""Does a model know when it is right? Calibration, and errors against coverage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrot_train.metrics import Scores, ratio


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in equal-width bins of confidence, each (bins,).

    Empty bins have the count 0 and hold 0.
    """

    confidence: Scores
    accuracy: Scores
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of the two, [0, 1]."""
        gaps = np.abs(self.confidence - self.accuracy) * self.count
        return float(gaps.sum() / self.count.sum())


def reliability(confidence: NDArray, correct: NDArray, bins: int = 15) -> Reliability:
    """Return how often predictions of each `confidence` (N,) are `correct` (N,)."""
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    mean = ratio(np.bincount(index, confidence, bins), count)
    return Reliability(mean, ratio(np.bincount(index, correct, bins), count), count)


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the most confident cells against their share, both in (0, 1]."""

    coverage: Scores
    risk: Scores

    @property
    def area(self) -> float:
        """The mean risk over all coverages; smaller is better."""
        return float((self.risk * np.diff(self.coverage, prepend=0)).sum())

    def risk_at(self, coverage: float) -> float:
        """Return the error when at least `coverage` of the cells are answered."""
        reached = self.coverage >= min(coverage, 1) - 1e-9
        return float(self.risk[int(reached.argmax())])


def risk_coverage(confidence: NDArray, correct: NDArray) -> RiskCoverage:
    """Return the curve over every threshold on `confidence` (N,).

    Cells of equal confidence are accepted together, whatever their order. El-Yaniv
    and Wiener, JMLR 11 (2010) 1605.
    """
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.diff(confidence[order], append=-np.inf))
    wrong = np.cumsum(~correct[order].astype(bool))[last]
    return RiskCoverage((last + 1) / len(order), wrong / (last + 1))
