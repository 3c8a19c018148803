"""A model's certificate measured again on this machine, with its golden cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellrot_infer.certificate import certify
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import ModelError
from cellrot_infer.golden import TOLERANCE, golden_error, golden_patches

LARGEST = 1e6  # no figure of a certificate comes near
ROUNDING = 1e-5  # what float32 sums in another order differ by


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of the certificate, and what it is here.

    `holds` is None for figures that depend on the cells, which are fewer here: they are
    shown, not judged.
    """

    figure: str
    certified: float
    measured: float
    holds: bool | None


def verify(classifier: Classifier) -> Iterator[Comparison]:
    """Yield each figure of the certificate beside the same one measured here.

    Raises ModelError where the card has no golden cells or no such figures.
    """
    patches = golden_patches(classifier.card)
    if len(patches) < 2:
        raise ModelError(
            f"model {classifier.card.name}: its card has no golden cells to verify it "
            "with; export it again with `cellrot-train export`"
        )
    certified = classifier.card.certificate
    measured = certify(classifier.classify, patches)
    error = golden_error(classifier)
    yield Comparison("golden cells, probability", 0.0, error, error <= TOLERANCE)
    yield _quarter_turn("probability", "quarter_turn_max_abs", certified, measured)
    yield _quarter_turn("embedding", "quarter_turn_embedding", certified, measured)
    for figure in ("flips", "spread"):
        promised, here = _mean(certified, figure), _mean(measured, figure)
        yield Comparison(f"other angles, mean {figure}", promised, here, holds=None)


def _quarter_turn(
    what: str, key: str, certified: Mapping[str, Any], measured: Mapping[str, Any]
) -> Comparison:
    promised, here = _number(certified, key), _number(measured, key)
    holds = here <= max(promised, ROUNDING)
    return Comparison(f"quarter turns, {what}", promised, here, holds)


def _number(values: Mapping[str, Any], key: str) -> float:
    return _checked(values.get(key), key)


def _mean(values: Mapping[str, Any], key: str) -> float:
    numbers = values.get(key)
    if not isinstance(numbers, list) or not numbers:
        raise ModelError(f"the certificate has no {key}; export the model again")
    return float(np.mean([_checked(number, key) for number in numbers]))


def _checked(value: object, key: str) -> float:
    if isinstance(value, (int, float)) and abs(value) < LARGEST:
        return float(value)
    raise ModelError(f"the certificate has no {key}; export the model again")
