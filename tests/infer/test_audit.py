"""A trail that cannot be changed unnoticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cellrot_infer.audit import check_trail, extend_trail, read_trail
from cellrot_infer.errors import ReportError


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    path = tmp_path / "größe.audit.jsonl"
    extend_trail(path, [{"cell": 1, "after": "blast"}, {"cell": 2, "after": "\udcff"}])
    extend_trail(path, [{"cell": 3, "after": "=1+1"}])
    return path


def test_what_was_written_is_read_in_order(trail: Path) -> None:
    assert [entry["cell"] for entry in read_trail(trail)] == [1, 2, 3]


def test_a_whole_trail_is_told_by_its_last_hash(trail: Path) -> None:
    assert check_trail(trail) == (3, read_trail(trail)[-1]["sha256"])
    with pytest.raises(ReportError, match=r"none\.jsonl: no such audit trail"):
        check_trail(trail.with_name("none.jsonl"))


def test_a_trail_without_lines_is_whole(tmp_path: Path) -> None:
    extend_trail(tmp_path / "empty.jsonl", [])
    assert check_trail(tmp_path / "empty.jsonl") == (0, "0" * 64)


def test_a_trail_that_is_no_text_is_one_line(trail: Path) -> None:
    trail.write_bytes(b"\xff")
    with pytest.raises(ReportError, match=r"größe\.audit\.jsonl: cannot be read"):
        check_trail(trail)


def test_a_trail_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_trail(tmp_path / "none.jsonl") == []


def test_adding_leaves_the_lines_before_as_they_were(trail: Path) -> None:
    before = trail.read_bytes()
    extend_trail(trail, [{"cell": 4}])
    assert trail.read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda lines: [lines[0].replace("blast", "basophil"), *lines[1:]], 1),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [*lines, "{"], 4),
        (lambda lines: [*lines, "3"], 4),
        (lambda lines: [*lines, 100_000 * "["], 4),
        (lambda lines: [*lines, lines[2]], 4),
    ],
)
def test_a_spoilt_trail_is_neither_read_nor_extended(
    trail: Path,
    spoil: Callable[[list[str]], list[str]],
    line: int,
) -> None:
    lines = spoil(trail.read_text("utf-8").splitlines())
    trail.write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(
        ReportError, match=rf"größe\.audit\.jsonl, line {line}: changed"
    ):
        extend_trail(trail, [{"cell": 5}])


def test_a_line_forged_with_its_own_hash_breaks_the_next(trail: Path) -> None:
    forged = trail.with_name("forged.jsonl")
    extend_trail(forged, [{"cell": 1, "after": "basophil"}])
    lines = trail.read_text("utf-8").splitlines()
    lines[0] = forged.read_text("utf-8").rstrip()
    assert json.loads(lines[0])["after"] == "basophil"
    trail.write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(ReportError, match="line 2: changed"):
        read_trail(trail)
