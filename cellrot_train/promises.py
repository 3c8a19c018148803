"""What must hold of a file before it is written; otherwise it is refused, with figures.

Parity: ONNX Runtime says what torch says. Invariance: a quarter turn changes nothing in
a harmonic net. Cost: another precision takes hardly anything from the macro-F1.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

from cellrot_infer.errors import CellrotError
from cellrot_infer.types import Floats, Patches

PARITY = 1e-4  # of a probability: the two runtimes add up in different orders
QUARTER_TURN = 1e-5  # of a probability: nothing but rounding
COST = 0.003  # of the macro-F1 on validation
INVARIANT = ("hnet-r0", "hnet-r2")


class ExportError(CellrotError):
    """The exported file would not keep what it promises."""


def check_parity(
    session: ort.InferenceSession,
    answers: Callable[[Patches], Floats],
    patches: Patches,
    sizes: Iterable[int] = range(1, 66),
    *,
    other: str = "torch",
) -> None:
    """Raise ExportError where the file and `other` differ, at any batch of `sizes`.

    `answers` gives the probabilities (N, K) that `other` has for patches.
    """
    for size in sizes:
        rows = [row % len(patches) for row in range(size * size, size * size + size)]
        batch = patches[rows]
        expected = answers(batch)
        actual = session.run(["probabilities"], {"patches": batch})[0]
        worst = float(np.abs(actual - expected).max())
        flips = int((actual.argmax(1) != expected.argmax(1)).sum())
        if not worst <= PARITY or flips:
            raise ExportError(
                f"at a batch of {size}, the file differs from {other} by {worst:.2g} "
                f"(at most {PARITY:g}) and in {flips} classes; nothing was written"
            )


def check_certificate(certificate: Mapping[str, Any], encoder: str) -> None:
    """Raise ExportError where quarter turns change what a harmonic net says."""
    change = certificate["quarter_turn_max_abs"]
    if encoder in INVARIANT and not change <= QUARTER_TURN:
        raise ExportError(
            f"a quarter turn changes a probability by {change:.2g} (at most "
            f"{QUARTER_TURN:.2g} for {encoder}); nothing was written"
        )


def check_cost(whole: Mapping[str, Any], reduced: Mapping[str, Any]) -> None:
    """Raise ExportError where macro-F1 falls from that of the float32 file."""
    before, after = whole["macro_f1"][0], reduced["macro_f1"][0]
    if not after >= before - COST:
        raise ExportError(
            f"macro-F1 on the validation cells falls from {before:.4f} to {after:.4f} "
            f"(at most by {COST:g}); nothing was written"
        )
