"""What is evaluated: its name serves for files, whoever gave it."""

from pathlib import Path

import pytest

from cellrot_train.subject import open_subject
from tests.conftest import tiny_card, write_model


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped", "C:\\escaped", "\\\\host\\share\\x", ".."]
)
def test_a_model_is_no_path_whatever_it_calls_itself(tmp_path: Path, name: str) -> None:
    path = write_model(tmp_path, card=tiny_card(name=name))

    subject = open_subject(str(path), "cpu")

    assert Path(subject.name).name == subject.name
    assert not {"/", "\\", ":"} & set(subject.name)
