"""Hostile files are read or refused; `python -m benchmarks.fuzz` has many more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import survives, targets


@pytest.mark.parametrize("name", targets())
@settings(max_examples=40)
@given(data=st.data())
def test_a_hostile_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    target = targets()[name]
    path = tmp_path_factory.getbasetemp() / "case"

    survives(target, data.draw(target.cases), path)
