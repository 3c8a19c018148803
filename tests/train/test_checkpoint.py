"""Checkpoints are whole or absent, and refuse what is not theirs."""

from pathlib import Path

import pytest
import torch

from cellrot_infer.errors import DataError, OutputError
from cellrot_train import checkpoint


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "Größe ä.pt"
    checkpoint.save(path, {"weights": torch.arange(5), "done": 7, "rows": [{"a": 1.5}]})

    state = checkpoint.load(path)

    assert torch.equal(state["weights"], torch.arange(5))
    assert (state["done"], state["rows"]) == (7, [{"a": 1.5}])
    assert [entry.name for entry in tmp_path.iterdir()] == ["Größe ä.pt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"last\.pt: no checkpoint, or a damaged one"):
        checkpoint.load(path)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "trap": Path("harmless")}, path)  # a class, so code

    with pytest.raises(DataError, match="no checkpoint, or a damaged one"):
        checkpoint.load(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "last.pt")
    torch.save({"weights": 1}, tmp_path / "alien.pt")

    with pytest.raises(DataError, match=f"99, this version reads {checkpoint.FORMAT}"):
        checkpoint.load(tmp_path / "last.pt")
    with pytest.raises(DataError, match="no checkpoint of cellrot"):
        checkpoint.load(tmp_path / "alien.pt")
    with pytest.raises(DataError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "gone.pt")


def test_what_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"done": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left"):
        checkpoint.save(path, {"done": 2})
    assert checkpoint.load(path)["done"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
