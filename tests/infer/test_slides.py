"""Inputs become slides, and no two of them ever write the same file."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_infer.slides import distinct_stems, find_slides
from cellrot_infer.writers.text import file_stem


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


def test_each_image_of_a_folder_can_be_a_slide(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/b.png", "in/b.jpg", "a.png", "empty/notes.txt")
    inputs = [tmp_path / "in", tmp_path / "empty", tmp_path / "in" / "b.png"]

    found = find_slides(inputs, each=True)

    assert [slide.stem for slide in found] == ["a", "b.jpg", "b.png", "empty"]
    assert [len(slide.images) for slide in found] == [1, 1, 1, 0]


def test_folders_in_folders_are_slides_that_lie_as_the_inputs_do(
    tmp_path: Path,
) -> None:
    make(
        tmp_path,
        "in/top.png", "in/0815/1.png", "in/ward 3/0815/1.png", "in/ward 3/0816/2.png",
        "in/ward 3/~a/b/3.png", "in/notes/x.txt", "in/.cache/4.png",
    )  # fmt: skip

    found = find_slides([tmp_path / "in"], recursive=True)
    alone = find_slides([tmp_path / "in"], recursive=True, each=True)

    strange = file_stem("~a")
    assert [slide.stem for slide in found] == [
        "in", "0815", "ward 3/0815", "ward 3/0816", f"ward 3/{strange}/b",
    ]  # fmt: skip
    assert [slide.stem for slide in alone] == [
        "top", "0815/1", "ward 3/0815/1", "ward 3/0816/2", f"ward 3/{strange}/b/3",
    ]  # fmt: skip
    assert [len(slide.images) for slide in found] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("each", [False, True])
def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: bool
) -> None:
    make(tmp_path, "in/0815/1.png", "in/locked/2.png")
    scan = os.scandir

    def refused(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find_slides([tmp_path / "in"], each=each, recursive=True)

    assert [len(slide.images) for slide in found] == [1, 0]
    assert found[1].fault == "the folder cannot be read (Permission denied)"


def test_a_tree_without_images_is_named(tmp_path: Path) -> None:
    make(tmp_path, "in/deeper/notes.txt")

    (found,) = find_slides([tmp_path / "in"], recursive=True)

    assert (found.name, found.images) == ("in", ())


def test_the_same_folder_of_two_trees_has_two_names(tmp_path: Path) -> None:
    make(tmp_path, "mon/0815/1.png", "tue/0815/1.png")

    found = find_slides([tmp_path / "mon", tmp_path / "tue"], recursive=True)

    assert [slide.stem for slide in found] == ["mon_0815", "tue_0815"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_to_the_folder_above_is_no_endless_tree(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")

    assert len(find_slides([tmp_path / "in"], recursive=True)) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["in/a.png", "in.a.png"],
        ["in/a.b.png", "in.a/b.png"],
        ["in/a.png", "IN.A.png"],
        ["x/in/a.png", "y/in/a.png"],
    ],
)
def test_no_frame_writes_a_file_of_another_slide(
    tmp_path: Path, names: list[str]
) -> None:
    paths = make(tmp_path, *names)
    inputs = [path if path.parent == tmp_path else path.parent for path in paths]

    found = find_slides(inputs)

    bases = [stem for slide in found for stem in {slide.stem, *slide.frame_stems()}]
    assert len({stem.casefold() for stem in bases}) == len(bases)


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
