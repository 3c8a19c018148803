"""Logs for TensorBoard, where it is installed, and nothing where it is not."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from cellrot_train import tensorboard


class Writer:
    """Stands for TensorBoard's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None: ...


def test_every_figure_of_an_epoch_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: True)

    tensorboard.log(tmp_path, {"epoch": 1, "loss": 0.5})
    tensorboard.log(tmp_path, {"epoch": 2, "loss": 0.25, "val_macro_f1": 0.75})

    writer = tensorboard._writer(tmp_path / "tensorboard")
    assert writer.folder == tmp_path / "tensorboard"
    assert ("loss", 0.25, 2) in writer.scalars
    assert ("val_macro_f1", 0.75, 2) in writer.scalars


def test_without_tensorboard_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: None)

    tensorboard.log(tmp_path, {"epoch": 1, "loss": 0.5})

    assert not list(tmp_path.iterdir())
