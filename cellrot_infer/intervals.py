"""How far a percentage can be trusted: by the cells counted, and by the classifier.

Two intervals answer two questions. Wilson's: had every cell been named rightly, what
share of the smear would agree with this count? The other one also asks how often the
classifier took one class for another when it was validated.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Z_95 = 1.959963984540054  # standard normal quantile at 0.975
EM_STEPS = 200
MAX_COUNT = 10**12  # cells; numbers beyond are no counts
CHAINS, WARM_UP, STEPS = 32, 80, 150  # ends settle within a twentieth of the width


class Interval(NamedTuple):
    """Two ends, as fractions in [0, 1], that hold the true share 95 times in 100."""

    low: float
    high: float


def wilson(count: int, total: int) -> Interval:
    """Return Wilson's score interval of `count` in `total` cells (Wilson 1927).

    (0, 1) where nothing was counted: nothing is known.
    """
    if total == 0:
        return Interval(0.0, 1.0)
    share, spread = count / total, Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _wilson_half_width(share, total)
    # The ends of 0 and of all are exact; rounding must not take them past.
    low = 0.0 if count == 0 else centre - half
    return Interval(low, 1.0 if count == total else centre + half)


def further_cells(count: int, total: int, half_width: float) -> int:
    """Return how many more cells bring Wilson's interval to +- `half_width`.

    Supposes that the share stays what it is now. `half_width` is a fraction in (0, 1);
    0 where the interval is that narrow already.
    """
    if not 0 < half_width < 1:
        raise ValueError(f"half_width must be between 0 and 1, got {half_width}")
    share = count / total if total else 0.5
    low, high = max(total, 1), max(total, 1)
    if total and _wilson_half_width(share, total) <= half_width:
        return 0
    while _wilson_half_width(share, high) > half_width:
        low, high = high, 2 * high
    while high - low > 1:  # the width falls as the count grows
        middle = (low + high) // 2
        wide = _wilson_half_width(share, middle) > half_width
        low, high = (middle, high) if wide else (low, middle)
    return high - total


def _wilson_half_width(share: float, total: int) -> float:
    spread = Z_95**2 / total
    variance = share * (1 - share) / total + spread / (4 * total)
    return Z_95 * math.sqrt(variance) / (1 + spread)


def classifier_intervals(
    counts: ArrayLike,
    confusion: ArrayLike,
    *,
    known: ArrayLike | None = None,
    counted: ArrayLike | None = None,
) -> tuple[Interval, ...]:
    """Return an interval a class that carries the classifier's confusion.

    `counts` (K,) are cells by the class that the model gave; `known` (K,) cells whose
    class a person gave. `confusion` (K, K) counts the cells of the validation, rows
    the truth. `counted` (K,) is true where a class is in the denominator (default:
    everywhere); other classes get the interval (0, 0).

    The true composition and the rates of confusion are drawn together from their
    posterior by Gibbs sampling: given both, the true class of each cell is drawn;
    given the classes, both follow a Dirichlet distribution. The priors are half a cell
    a class for the composition (Jeffreys) and one cell a row in all for the rates
    (Perks), which a simulation in the tests holds to 95 %. Sound as far as the slide
    resembles the validation images.
    """
    counts, confusion = np.asarray(counts, np.int64), np.asarray(confusion, np.int64)
    size = len(counts)
    known = np.asarray(np.zeros(size) if known is None else known, np.int64)
    counted = np.ones(size, bool) if counted is None else np.asarray(counted, bool)
    if confusion.shape != (size, size) or known.shape != (size,):
        raise ValueError(f"{size} classes need ({size}, {size}), got {confusion.shape}")

    shares = _draw_shares(counts, confusion, known) * counted
    shares /= shares.sum(axis=1, keepdims=True)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    low[counts + known == 0] = 0  # never seen: that there is none cannot be ruled out
    return tuple(map(Interval, low.tolist(), high.tolist()))


def is_confusion(rows: object, classes: int) -> TypeGuard[Sequence[Sequence[int]]]:
    """Return whether `rows` are the counts that `classifier_intervals` can take."""
    table = rows if isinstance(rows, (list, tuple)) else ()
    return len(table) == classes and all(_is_counts(row, classes) for row in table)


def _is_counts(row: object, classes: int) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != classes:
        return False
    return all(type(count) is int and 0 <= count < MAX_COUNT for count in row)


def _draw_shares(
    counts: Counts, confusion: Counts, known: Counts
) -> NDArray[np.float64]:
    """Return draws (CHAINS * STEPS, K) of the true composition."""
    rng = np.random.default_rng(0)
    prior = 1 / len(counts)
    origin = np.broadcast_to(_likely_origin(counts, confusion, known), _shape(counts))
    kept = []
    for step in range(WARM_UP + STEPS):
        seen = rng.multinomial(counts, origin).swapaxes(1, 2)  # (chain, true, named)
        shares = _dirichlet(rng, known + seen.sum(axis=2) + 0.5)
        rates = _dirichlet(rng, confusion + seen + prior)
        origin = _origin(shares, rates)
        if step >= WARM_UP:
            kept.append(shares)
    return np.concatenate(kept)


def _shape(counts: Counts) -> tuple[int, int, int]:
    return CHAINS, len(counts), len(counts)


def _likely_origin(
    counts: Counts, confusion: Counts, known: Counts
) -> NDArray[np.float64]:
    """Return where the named cells most likely come from, (named, true), by EM.

    The draws begin here: from the counts themselves they would take long to come here
    where the classifier confuses much.
    """
    rates = confusion + 1 / len(counts)
    rates = rates / rates.sum(axis=1, keepdims=True)
    origin = np.eye(len(counts))
    for _ in range(EM_STEPS):
        shares = known + counts @ origin + 0.5
        origin = _origin(shares[None], rates[None])[0]
    return origin


def _origin(
    shares: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the chance that a named cell is of each class, (chain, named, true)."""
    joint = (shares[:, :, None] * rates).swapaxes(1, 2)
    return np.asarray(joint / joint.sum(axis=2, keepdims=True))


def _dirichlet(
    rng: np.random.Generator, weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    drawn = rng.standard_gamma(weights) + np.finfo(float).tiny
    return np.asarray(drawn / drawn.sum(axis=-1, keepdims=True))
