"""Checkpoints: plain tensors and values, written whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch

from cellrot_infer.errors import DataError
from cellrot_infer.files import write_bytes

FORMAT = 2


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) to `path` by rename.

    Raises OutputError where it cannot be written; the file of before stays.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, **state}, content)
    write_bytes(path, content.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the state at `path`; raise DataError where it is none of ours."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged zip or pickle raises anything
        raise DataError(
            f"{path}: no checkpoint, or a damaged one ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or "format" not in state:
        raise DataError(f"{path}: no checkpoint of cellrot")
    if state["format"] != FORMAT:
        raise DataError(
            f"{path}: a checkpoint of format {state['format']}, this version reads "
            f"{FORMAT}; train again"
        )
    return state
