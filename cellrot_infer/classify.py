"""Patches into predictions: an ONNX session and the card that says what it expects."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort

from cellrot_infer.card import ModelCard, read_model
from cellrot_infer.devices import (
    CPU,
    RUN_ERRORS,
    DeviceName,
    available_threads,
    open_session,
)
from cellrot_infer.errors import DeviceError, ModelError
from cellrot_infer.models import DEFAULT_MODEL, find_model
from cellrot_infer.types import PATCH_SIDE_PX, Patches, Predictions

INPUT = "patches"
OUTPUTS = tuple(entry.name for entry in fields(Predictions))
OPTIONAL_OUTPUTS = {"orientation_rad"}
# Larger batches leave a CPU's cache; a GPU wants them.
CPU_BATCH, GPU_BATCH = 16, 64


class Classifier:
    """A verified model, ready to classify.

    `card` is what the model says of itself, `sha256` the hash of its file, `provider`
    the execution provider that really runs, `device` one line on why, and `threads` how
    many processors it may use.
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard) -> None:
        self.card = card
        self.sha256 = card.sha256
        self.device = ""
        self.threads = available_threads()
        self.provider: str = session.get_providers()[0]
        self._session = session
        given = {output.name for output in session.get_outputs()}
        self._outputs = [name for name in OUTPUTS if name in given]
        self._largest = CPU_BATCH if self.provider == CPU else GPU_BATCH

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        device: DeviceName = "auto",
        threads: int = 0,
    ) -> Self:
        """Load a shipped model by name, or a model file by path.

        `threads` = 0 takes all processors of this process. Raises ModelError where the
        file is not a sound model of ours, DeviceError where the device cannot be used.
        """
        path = find_model(name_or_path)
        model, card = read_model(path)
        session, device_line = open_session(model, device, threads, str(path))
        _check_signature(session, str(path))
        classifier = cls(session, card)
        classifier.sha256 = hashlib.sha256(model).hexdigest()
        classifier.device = device_line
        classifier.threads = threads or available_threads()
        classifier._try_out(str(path))
        return classifier

    def classify(self, patches: Patches) -> Predictions:
        """Return predictions for patches (N, 256, 256, 3); N may be 0.

        Raises ModelError where an output is not a finite number.
        """
        expected = (PATCH_SIDE_PX, PATCH_SIDE_PX, 3)
        if patches.shape[1:] != expected or patches.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 (N, 256, 256, 3), got {patches.dtype} {patches.shape}"
            )
        if not len(patches):
            blank = np.zeros((1, *expected), np.uint8)
            return _joined([self._run(blank)], self._outputs, 0)
        parts = [self._run(part) for part in _buckets(patches, self._largest)]
        return _joined(parts, self._outputs, len(patches))

    def _try_out(self, source: str) -> None:
        """Run a full batch, so that the first frame finds the session warm.

        Raises ModelError on a bad answer.
        """
        shape = self._largest, PATCH_SIDE_PX, PATCH_SIDE_PX, 3
        (_, actual) = self.classify(np.full(shape, 255, np.uint8)).probabilities.shape
        if actual != (expected := len(self.card.class_names)):
            raise ModelError(
                f"{source}: gives {actual} probabilities, but its card has "
                f"{expected} classes"
            )

    def _run(self, patches: Patches) -> list[np.ndarray]:
        try:
            values = self._session.run(self._outputs, {INPUT: patches})
        except RUN_ERRORS as error:
            raise _failure(error, self.card.name) from None
        for name, value in zip(self._outputs, values, strict=True):
            if not np.isfinite(value).all():
                raise ModelError(f"model {self.card.name}: {name} holds no numbers")
        return list(values)


def _failure(error: Exception, name: str) -> Exception:
    """Return what ONNX Runtime met: too little memory, or a fault of the device."""
    said = str(error)
    if any(
        words in said for words in ("allocate memory", "bad_alloc", "out of memory")
    ):
        return MemoryError(said)
    return DeviceError(
        f"model {name}: ONNX Runtime failed ({said.splitlines()[0]:.160})"
    )


def _buckets(patches: Patches, largest: int) -> Iterator[Patches]:
    """Cut `patches` into parts of `largest`, then of falling powers of two.

    Few sizes occur, so that the runtime plans each once and nothing is padded.
    """
    start = 0
    while start < len(patches):
        rest = len(patches) - start
        size = min(largest, 1 << (rest.bit_length() - 1))
        yield patches[start : start + size]
        start += size


def _joined(parts: list[list[np.ndarray]], names: list[str], count: int) -> Predictions:
    columns = map(np.concatenate, zip(*parts, strict=True))
    values = {name: column[:count] for name, column in zip(names, columns, strict=True)}
    return Predictions(**values)


def gathered(parts: Sequence[Predictions], order: Sequence[int]) -> Predictions:
    """Return the predictions of `parts` as one, for the cells that `order` names."""
    chosen = np.array(order, np.intp)
    columns: dict[str, Any] = {}
    for entry in fields(Predictions):
        values = [getattr(part, entry.name) for part in parts]
        known = all(value is not None for value in values)
        columns[entry.name] = np.concatenate(values)[chosen] if known else None
    return Predictions(**columns)


def _check_signature(session: ort.InferenceSession, source: str) -> None:
    """Raise ModelError unless inputs and outputs are those of the contract."""
    inputs = [(entry.name, entry.type) for entry in session.get_inputs()]
    if inputs != [(INPUT, "tensor(uint8)")]:
        raise ModelError(
            f"{source}: its input is {inputs!r:.120}, expected {INPUT!r} of uint8; "
            "export it again with `cellrot-train export`"
        )
    given = {entry.name: entry.type for entry in session.get_outputs()}
    for name in OUTPUTS:
        if name in OPTIONAL_OUTPUTS and name not in given:
            continue
        if given.get(name) != "tensor(float)":
            raise ModelError(
                f"{source}: its output {name!r} is {given.get(name, 'missing')}, "
                "expected float32; export it again with `cellrot-train export`"
            )
