"""A file is complete or absent."""

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from cellrot_infer.errors import OutputError
from cellrot_infer.files import (
    make_folder,
    remove_parts,
    sync_folder,
    write_bytes,
    write_text,
)


def test_what_is_written_is_there(tmp_path: Path) -> None:
    write_text(tmp_path / "Größe ä.csv", "a,ä\n1,2\n")

    assert (tmp_path / "Größe ä.csv").read_bytes() == "a,ä\n1,2\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["Größe ä.csv"]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    for content in (b"old and long", b"new"):
        write_bytes(tmp_path / "a", content)

    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "a.csv", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.csv: cannot be written \(No space left"):
        write_bytes(tmp_path / "a.csv", b"new")

    assert (tmp_path / "a.csv").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a.csv", b"new")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputError, match=r"no folder to write into.*--out"):
        make_folder(tmp_path / "file" / "folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "gone" / "a.csv", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_others_may_read_as_the_user_s_mask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_bytes(tmp_path / "a.csv", b"")
    finally:
        os.umask(mask)

    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o644


def test_only_parts_are_removed(tmp_path: Path) -> None:
    for name in (".cellrot-12ab.part", "a.part", "cellrot.csv"):
        (tmp_path / name).touch()

    remove_parts(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"a.part", "cellrot.csv"}


def test_names_are_sent_to_the_disk_and_a_share_that_cannot_is_left_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refused(entry: int) -> None:
        asked.append(entry)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refused)
    sync_folder(tmp_path)

    assert len(asked) == (os.name == "posix")
