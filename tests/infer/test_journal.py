"""What the journal was given is there again, all of it or nothing, for one run only."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cellrot_infer.errors import OutputError
from cellrot_infer.journal import NAME, FileState, Journal, Kept
from cellrot_infer.types import PixelSize
from tests.infer.slides import provenance, slide

REPORT = slide(45)
PLAN = [("Marrow 17", ("a.png", "\udce4.png")), ("ward 3/0815", ())]
FILE = FileState(17, 1_700_000_000_000_000_001, "ab" * 32)


def frame(number: int) -> Kept:
    record = REPORT.frames[number]
    own = tuple(each for each in REPORT.findings if each.frame == record.name)
    return Kept(record, own)


def begun(folder: Path) -> Journal:
    journal = Journal(folder)
    journal.start((("model", "hnet-r0"),), PLAN)
    return journal


def test_what_is_kept_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        journal.add(0, 1, FILE, frame(1), {1: b"another"})
        journal.add(0, 0, FILE, frame(0), {2: b"cell", 0: b"preview"})
        journal.keep_scales(0, {(480, 640): PixelSize(0.1, "red cells", 0.02)})

    with Journal(tmp_path) as journal:
        assert journal.plan() == PLAN
        assert journal.identity() == {"model": "hnet-r0"}
        assert list(journal.kept(0)) == [(0, frame(0)), (1, frame(1))]
        assert list(journal.pictures(0)) == [
            (0, 0, b"preview"),
            (0, 2, b"cell"),
            (1, 1, b"another"),
        ]
        assert journal.files(0) == {0: FILE, 1: FILE}
        scales = journal.scales(0)
        assert scales == {(480, 640): PixelSize(0.1, "red cells", 0.02)}
        assert (journal.scales(1), journal.images_done()) == (None, 2)


def test_what_is_committed_outlives_a_power_cut(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        settings = [
            journal._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "locking_mode")
        ]

    assert settings == ["wal", 2, "exclusive"]  # 2 is FULL


def test_a_closed_journal_is_one_file(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        journal.add(0, 0, FILE, frame(0), {})

    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_journal_without_an_entry_leaves_no_file(tmp_path: Path) -> None:
    begun(tmp_path).close()

    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_reports_makes_room(tmp_path: Path) -> None:
    sizes = []
    for complete in (False, True):
        with begun(tmp_path) as journal:
            journal.add(0, 0, FILE, frame(0), {1: bytes(200_000)})
            journal.finish(0, "lines\n", complete=complete)
            assert journal.finished() == {0: "lines\n"}
            assert bool(list(journal.pictures(0))) != complete
            assert journal.files(0) == {0: FILE}
        sizes.append((tmp_path / NAME).stat().st_size)

    assert sizes[1] < sizes[0] - 200_000


def test_a_commit_that_fails_leaves_nothing_of_it(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        with pytest.raises(OutputError, match="cannot be written"):
            journal.add(0, 0, FILE, frame(0), {1: object()})  # type: ignore[dict-item]

        assert journal.images_done() == 0
        journal.add(0, 0, FILE, frame(0), {})
        assert journal.images_done() == 1


def test_a_full_disk_is_what_is_told_and_there_may_be_room_again(
    tmp_path: Path,
) -> None:
    with begun(tmp_path) as journal:
        journal._database.execute("PRAGMA max_page_count = 20")
        with pytest.raises(OutputError, match=r"written \(database or disk is full\)"):
            journal.add(0, 0, FILE, frame(0), {1: bytes(200_000)})

        journal._database.execute("PRAGMA max_page_count = 2000")
        journal.add(0, 0, FILE, frame(0), {1: bytes(200_000)})
        assert journal.images_done() == 1


def test_images_that_are_dropped_are_to_be_counted_again(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        for image in (0, 1):
            journal.add(0, image, FILE, frame(0), {1: b"cell"})
        journal.finish(0, "", complete=False)

        journal.drop(0, [0])

        assert set(journal.files(0)) == {1}
        assert list(journal.pictures(0)) == [(1, 1, b"cell")]
        assert journal.finished() == {}


def test_a_second_run_is_refused_in_this_process_and_in_another(tmp_path: Path) -> None:
    script = f"from pathlib import Path\nimport cellrot_infer.journal as j\ntry:\n j.Journal(Path({str(tmp_path)!r}))\nexcept j.OutputError as e: print(e)"  # noqa: E501
    with begun(tmp_path):
        with pytest.raises(OutputError, match="another cellrot-infer writes into"):
            Journal(tmp_path)
        other = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert "another cellrot-infer writes into this folder" in other.stdout

    Journal(tmp_path).close()


def test_the_origin_of_a_run_stays_that_of_its_begin(tmp_path: Path) -> None:
    began = provenance()
    later = replace(began, created="2030-01-01T00:00:00+00:00")
    with begun(tmp_path) as journal:
        assert journal.provenance(began) == began
        assert journal.provenance(later) == began
        with pytest.raises(OutputError, match=r"now it is hnet-r2 on CUDA.*--restart"):
            journal.provenance(replace(later, provider="CUDAExecutionProvider"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no database, but long enough" * 99, "damaged"), (b"", "")],
)
def test_a_file_in_the_way_is_named_and_an_empty_one_used(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / NAME).write_bytes(content)

    if not words:
        begun(tmp_path).close()
        return
    with pytest.raises(OutputError, match=f"{NAME}: {words}"):
        Journal(tmp_path)


def test_damage_that_sqlite_cannot_put_into_words_is_told(tmp_path: Path) -> None:
    with begun(tmp_path) as journal:
        journal.add(0, 0, FILE, frame(0), {})
    path = tmp_path / NAME
    path.write_bytes(
        path.read_bytes().replace(b"CREATE TABLE s", b"CREATE \xff\xff\xff\xffE s")
    )

    with pytest.raises(OutputError, match=r"damaged .* delete it"):
        Journal(tmp_path)


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = (tmp_path / NAME).read_bytes()

    with pytest.raises(OutputError, match="no journal of this version"):
        Journal(tmp_path)

    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE frames SET result = x'00'",
        "UPDATE frames SET result = NULL",
        "UPDATE frames SET result = 7",
        "UPDATE slides SET images = '[1]'",
        "UPDATE slides SET images = '{'",
    ],
)
def test_a_spoiled_entry_is_told_as_damage(tmp_path: Path, spoil: str) -> None:
    with begun(tmp_path) as journal:
        journal.add(0, 0, FILE, frame(0), {})
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute(spoil)
    other.close()

    with Journal(tmp_path) as journal:

        def read() -> object:
            return journal.plan(), list(journal.kept(0))

        with pytest.raises(OutputError, match=r"damaged .* delete it"):
            read()
