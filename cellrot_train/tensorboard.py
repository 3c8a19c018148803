"""The figures of each epoch for TensorBoard, where it is installed."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def log(folder: Path, row: Mapping[str, float]) -> None:
    """Add a row of history.csv to the logs in `folder`; nothing without TensorBoard."""
    if find_spec("tensorboard") is None:
        return
    writer = _writer(folder / "tensorboard")
    for name, value in row.items():
        writer.add_scalar(name, value, int(row["epoch"]))
    writer.flush()  # a training may be killed at any time


@cache
def _writer(folder: Path) -> Any:  # noqa: ANN401
    from torch.utils.tensorboard import SummaryWriter  # takes half a second

    return SummaryWriter(folder)
