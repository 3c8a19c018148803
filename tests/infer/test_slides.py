"""Inputs become slides, and no two of them ever write the same file."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.slides import distinct_stems, find_slides


def make(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_a_folder_is_one_slide_of_its_images(tmp_path: Path) -> None:
    make(
        tmp_path,
        "slide 7/b.PNG", "slide 7/a.jpg", "slide 7/boxes.csv", "slide 7/.DS_Store",
        "slide 7/._a.jpg", "slide 7/deeper/c.png",
    )  # fmt: skip

    (found,) = find_slides([tmp_path / "slide 7"])

    assert (found.name, found.stem, found.is_folder) == ("slide 7", "slide 7", True)
    assert [path.name for path in found.images] == ["a.jpg", "b.PNG"]


def test_what_an_earlier_run_wrote_is_no_frame(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/a.overlay.png", "in/in.a.overlay.png", "in/in.html")

    (found,) = find_slides([tmp_path / "in"])

    assert [path.name for path in found.images] == ["a.jpg"]


def test_an_image_is_a_slide(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "Größe/Präparat ä.png")

    (found,) = find_slides([path])

    assert (found.name, found.stem) == ("Präparat ä.png", "Präparat ä")
    assert found.images == (path,)


def test_what_is_missing_is_a_slide_too_and_fails_when_read(tmp_path: Path) -> None:
    (found,) = find_slides([tmp_path / "gone.png"])

    assert found.images == (tmp_path / "gone.png",)


def test_the_same_input_twice_is_one_slide(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "a.png")

    assert len(find_slides([path, tmp_path / "." / "a.png"])) == 1


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "a.jpg"], ["a.png", "a.jpg"]),
        (["x/a.png", "y/a.png"], ["x_a", "y_a"]),
        (["a.png", "A.PNG"], None),
        (["x/y_a.png", "x_y/a.png"], None),
        ([unicodedata.normalize(f, "ä.png") for f in ("NFC", "NFD")], None),
    ],
)
def test_inputs_of_one_name_get_names_of_their_own(
    tmp_path: Path, names: list[str], stems: list[str] | None
) -> None:
    found = distinct_stems(make(tmp_path, *names))

    if stems is not None:
        assert found == stems
    folded = {unicodedata.normalize("NFC", stem).casefold() for stem in found}
    assert len(folded) == len(names)


parts = st.text(st.sampled_from("ab_.ÄäA "), min_size=1, max_size=3).filter(
    lambda part: part.strip(".") != ""
)


@given(st.lists(st.lists(parts, min_size=1, max_size=3), min_size=1, max_size=8))
def test_no_two_inputs_share_a_stem(paths: list[list[str]]) -> None:
    inputs = list({Path("/slides", *steps): None for steps in paths})

    stems = distinct_stems(inputs)

    folded = {unicodedata.normalize("NFC", stem).casefold() for stem in stems}
    assert len(folded) == len(inputs)
