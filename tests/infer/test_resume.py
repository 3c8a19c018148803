"""A run that was cut off goes on where it stopped, and only the same run does."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cellrot_infer import cli, counting, journal
from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Counted, Request, Task
from cellrot_infer.provenance import Pairs, provenance
from cellrot_infer.scan import Progress
from cellrot_infer.types import Failure, Provenance
from tests.conftest import tiny_card, write_model
from tests.infer.images import FIELD, FRAMES
from tests.infer.test_cli import Command, Outcome, command, count, written

__all__ = ["command", "count"]  # fixtures

NAMES = [f"{number}.jpg" for number in range(4)]


class Power:
    """Cuts the power once so many images were begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.left = 10**6
        work = counting.count_image

        def counted(
            task: Task, request: Request, classifier: Classifier, progress: Progress
        ) -> Counted | Failure:
            self.begun += 1
            if self.begun > self.left:
                raise KeyboardInterrupt
            return work(task, request, classifier, progress)

        monkeypatch.setattr("cellrot_infer.run.count_image", counted)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Power:
    return Power(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four frames."""
    (tmp_path / "in").mkdir()
    fields = sorted((FRAMES / "pbc_fields").glob("*.jpg"))
    for name, field in zip(NAMES, fields, strict=False):
        shutil.copy(field, tmp_path / "in" / name)
    return tmp_path / "in"


OPTIONS = "--report", "csv,json,html,geojson", "--threads", 1


def cut_off(count: Command, power: Power, folder: Path, *options: object) -> Outcome:
    """Return what a run leaves that ended while its third image was in work."""
    power.left = power.begun + 2
    outcome = count(folder, *OPTIONS, *options)
    power.left = 10**6
    power.begun = 0
    return outcome


def contents(tmp_path: Path) -> dict[str, bytes]:
    return {name: (tmp_path / "out" / name).read_bytes() for name in written(tmp_path)}


def at_one_time(classifier: Classifier, settings: Pairs) -> Provenance:
    return replace(provenance(classifier, settings), created="2026-03-01T09:30:00")


def test_a_run_that_was_cut_off_ends_with_the_files_of_one_that_was_not(
    count: Command,
    power: Power,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cellrot_infer.run.provenance", at_one_time)
    whole_outcome = count(folder, *OPTIONS)
    whole = contents(tmp_path)
    shutil.rmtree(tmp_path / "out")

    stopped = cut_off(count, power, folder)
    resumed = count(folder, *OPTIONS, "--resume")

    assert stopped.status == 130
    assert "--resume goes on" in stopped.err
    assert power.begun == 2
    assert (resumed.status, resumed.out) == (0, whole_outcome.out)
    assert contents(tmp_path) == whole


def test_a_finished_run_asked_again_counts_nothing_and_gives_the_same_data(
    count: Command, power: Power, folder: Path, tmp_path: Path
) -> None:
    first = count(folder, FIELD, *OPTIONS)
    before, begun = contents(tmp_path), power.begun

    again = count(folder, FIELD, *OPTIONS, "--resume")

    assert power.begun == begun == 5
    assert (again.status, again.out) == (0, first.out)
    assert "2 slides were counted before" in again.err
    assert contents(tmp_path) == before


def test_without_resume_everything_is_counted_again(
    count: Command, power: Power, folder: Path
) -> None:
    count(folder, *OPTIONS)

    assert count(folder, *OPTIONS).status == 0
    assert power.begun == 8


def test_what_a_stopped_run_has_counted_is_not_thrown_away_unasked(
    count: Command, power: Power, folder: Path
) -> None:
    cut_off(count, power, folder)

    refused = count(FIELD)
    restarted = count(FIELD, "--restart")

    assert refused.status == 1
    assert "a run stopped here after 2 of 4 images; go on with it with" in refused.err
    assert restarted.status == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pixel-size", "0.1"], "its run had pixel size automatic, now it is 0.1 um"),
        (
            ["--report", "csv"],
            "its run had reports csv,json,html,geojson, now it is csv",
        ),
        (["--csv-locale", "de"], "its run had csv"),
        ([FIELD], f"{FIELD.name} was no input of its run"),
        (["--each"], "0.jpg was no input of its run"),
    ],
)
def test_another_run_cannot_go_on(
    count: Command, power: Power, folder: Path, options: list[object], words: str
) -> None:
    cut_off(count, power, folder)

    outcome = count(folder, *OPTIONS, *options, "--resume")

    assert outcome.status == 1
    assert words in outcome.err
    assert "--restart" in outcome.err
    assert power.begun == 0


def test_another_model_cannot_go_on(
    count: Command, power: Power, folder: Path, tiny_model: Path
) -> None:
    cut_off(count, power, folder)
    write_model(tiny_model.parent, card=tiny_card(licence="CC-BY"))

    outcome = count(folder, *OPTIONS, "--resume")

    assert outcome.status == 1
    assert "its run had model " in outcome.err


def changed(image: Path) -> None:
    content = image.read_bytes()
    image.write_bytes(content[:-3] + b"\x00" + content[-2:])  # of the same size


def joined(image: Path) -> None:
    shutil.copy(image, image.with_name("9.jpg"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed, "0.jpg is not the file that was counted"),
        (Path.unlink, "its run had the input 0.jpg, too"),
        (joined, "9.jpg was no input of its run"),
    ],
)
def test_other_images_cannot_go_on(
    count: Command,
    power: Power,
    folder: Path,
    change: Callable[[Path], object],
    words: str,
) -> None:
    cut_off(count, power, folder)
    change(folder / "0.jpg")

    outcome = count(folder, *OPTIONS, "--resume")

    assert outcome.status == 1
    assert words in outcome.err


def test_an_image_that_was_named_and_is_gone_cannot_go_on(
    count: Command, power: Power, folder: Path
) -> None:
    images = [folder / name for name in NAMES]
    cut_off(count, power, *images)
    images[0].unlink()

    outcome = count(*images, *OPTIONS, "--resume")

    assert outcome.status == 1
    assert "0.jpg is not the file that was counted" in outcome.err


def test_a_clock_that_was_set_changes_no_image(
    count: Command, power: Power, folder: Path
) -> None:
    cut_off(count, power, folder)
    for name in NAMES:  # as a stick shows its times after a change to summer time
        os.utime(folder / name, (1_000_000, 1_000_000))

    assert count(folder, *OPTIONS, "--resume").status == 0
    assert power.begun == 2


@pytest.mark.parametrize("lost", ["in.0.geojson", "in.cells.csv"])
def test_a_file_that_is_gone_is_written_again(
    count: Command, power: Power, folder: Path, tmp_path: Path, lost: str
) -> None:
    count(folder, *OPTIONS)
    before = written(tmp_path)
    (tmp_path / "out" / lost).unlink()

    assert count(folder, *OPTIONS, "--resume").status == 0

    assert written(tmp_path) == before


def test_a_file_that_goes_between_two_resumes_is_written_again(
    count: Command, folder: Path, tmp_path: Path
) -> None:
    count(folder, *OPTIONS)
    assert count(folder, *OPTIONS, "--resume").status == 0
    (tmp_path / "out" / "in.cells.csv").unlink()

    assert count(folder, *OPTIONS, "--resume").status == 0

    assert "in.cells.csv" in written(tmp_path)


def test_what_failed_is_tried_again_and_only_that(
    count: Command, power: Power, folder: Path, tmp_path: Path
) -> None:
    good = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(b"")
    assert count(folder, *OPTIONS).status == 3
    assert count(folder, *OPTIONS, "--resume").status == 3
    power.begun = 0
    (folder / "1.jpg").write_bytes(good)

    outcome = count(folder, *OPTIONS, "--resume")

    assert (outcome.status, power.begun) == (0, 1)
    assert "in.1.geojson" in written(tmp_path)
    assert (tmp_path / "out" / "in.json").read_text("utf-8").count('"sha256"') == 4


def test_parts_of_a_process_that_died_are_removed(
    count: Command, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    part = tmp_path / "out" / ".cellrot-0123.part"
    part.write_bytes(b"half a ta")

    count(folder)

    assert not part.exists()


def test_resume_without_a_journal_begins(count: Command, folder: Path) -> None:
    assert count(folder, "--resume").status == 0


def test_a_second_run_in_the_folder_is_refused(
    count: Command, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with journal.Journal(tmp_path / "out"):
        outcome = count(folder)

    assert outcome.status == cli.CANNOT_RUN
    assert "out: another cellrot-infer writes into this folder" in outcome.err


def test_a_journal_with_images_of_no_slide_is_refused(
    count: Command, folder: Path
) -> None:
    count(folder)
    with sqlite3.connect(folder.parent / "out" / journal.NAME) as other:
        other.execute("UPDATE frames SET image = 'x' WHERE image = 3")
    other.close()

    outcome = count(folder, "--resume")

    assert outcome.status == 1
    assert "damaged (images of in that it has not); delete it" in outcome.err
