"""Names from outside: what shows is what is there, and every file gets its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.writers.text import file_stem, shown
from tests.infer.report_strategies import HOSTILE


@pytest.mark.parametrize("name", ["BloodImage_00005", "Knochenmark Müller 3.2", "血-1"])
def test_ordinary_names_stay(name: str) -> None:
    assert shown(name) == name
    assert file_stem(name) == name


def test_marks_that_turn_the_text_are_made_visible() -> None:
    assert shown("gpj.\u202eexe") == "gpj.\ufffdexe"


@pytest.mark.parametrize("mark", "\x1b\x7f\x9b\u061c\u200e\u2029\u202a\u2066\ufeff")
def test_no_character_of_a_name_can_hide(mark: str) -> None:
    assert shown(f"a{mark}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE,
        "",
        ".",
        "..",
        "a/b",
        "..\\..\\x",
        "CON",
        "nul.png",
        "com1",
        "LPT9.x",
        "a.",
    ],
)
def test_hostile_names_become_plain_files(name: str) -> None:
    stem = file_stem(name)

    assert 0 < len(stem) <= 90
    assert not set(stem) & set('<>:"/\\|?*\n\x00')
    assert stem == stem.strip(" .")
    assert stem.split(".")[0].upper() not in {"CON", "NUL", "COM1", "LPT9", ""}


@given(st.text(st.characters()), st.text(st.characters()))
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    assert (file_stem(one) == file_stem(other)) == (one == other)
