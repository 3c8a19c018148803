"""Patterns and lists name what their files are called, whatever the shell does."""

from pathlib import Path

import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.inputs import named_paths
from tests.infer.test_slides import make


def test_a_path_names_itself(tmp_path: Path) -> None:
    paths = [tmp_path, tmp_path / "gone.png"]

    assert named_paths(paths) == paths


def test_a_pattern_names_its_files_in_order(tmp_path: Path) -> None:
    made = make(tmp_path, "a/1.tif", "a/2.tif", "b/3.tif")
    make(tmp_path, "a/1.png", "4.tif")

    assert named_paths([tmp_path / "*" / "*.tif"]) == made
    assert named_paths([tmp_path / "**" / "3.tif"]) == [tmp_path / "b" / "3.tif"]


def test_a_pattern_without_files_stays_to_be_named(tmp_path: Path) -> None:
    assert named_paths([tmp_path / "*.tif"]) == [tmp_path / "*.tif"]


@pytest.mark.parametrize("name", ["field[1].png", "@home.png"])
def test_a_file_that_is_called_like_a_pattern_or_a_list_is_a_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, name)
    monkeypatch.chdir(tmp_path)

    assert named_paths([Path(name)]) == [Path(name)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_names_a_path_a_line(tmp_path: Path, encoding: str) -> None:
    text = '# slides of Monday\r\n\r\n"C:/ä b.png"\r\n  0815.tif  \r\n'
    file = tmp_path / "list.txt"
    file.write_bytes(text.encode(encoding))

    for paths in (named_paths([], [file]), named_paths([Path(f"@{file}")])):
        assert paths == [Path("C:/ä b.png"), Path("0815.tif")]


def test_a_list_may_hold_patterns(tmp_path: Path) -> None:
    made = make(tmp_path, "1.tif", "2.tif")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/*.tif\n", "utf-8")

    assert named_paths([], [tmp_path / "list.txt"]) == made


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"\xe4.png\n", "no UTF-8 text")]
)
def test_a_list_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)

    with pytest.raises(DataError, match=rf"list\.txt: the list .*{words}"):
        named_paths([], [tmp_path / "list.txt"])
