"""A run counts its steps, and shows them only to somebody who waits."""

import pkgutil
from collections.abc import Callable, Generator
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from cellrot_infer import terminal
from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Request, Task
from cellrot_infer.journal import Journal
from cellrot_infer.lineages import read_scheme
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run, share_threads
from cellrot_infer.scan import Progress, Quiet
from cellrot_infer.slides import find_slides
from cellrot_infer.types import Failure, Report
from tests.infer.images import FRAMES


class Steps(Quiet):
    """Counts the steps that it is told."""

    done = 0

    def advance(self) -> None:
        self.done += 1


def counted(
    inputs: list[Path],
    folder: Path,
    model: Path,
    *,
    pixel_size_um: float | None = 0.1,
    workers: int = 2,
    kinds: tuple[str, ...] = ("csv",),
) -> tuple[list[tuple[Report, list[Path]]], int]:
    """Return what a run yields, and how many steps it counted."""
    steps = Steps()
    request = Request(kinds, folder, read_scheme(), pixel_size_um)
    classifier = Classifier.load(model, device="cpu")
    slides = find_slides(inputs)
    with Journal(folder) as journal:
        left = take_up(journal, request, slides, str(model))
        run = Run(classifier, request, journal, slides, steps, workers)
        return list(run.count(left)), steps.done


def test_every_image_is_a_step_also_a_bad_one(tmp_path: Path, tiny_model: Path) -> None:
    inputs = [FRAMES / "pbc_fields", tmp_path / "gone.png"]

    ((fields, files), (gone, nothing)), steps = counted(inputs, tmp_path, tiny_model)

    assert steps == 7
    assert (len(fields.frames), len(fields.failures)) == (6, 0)
    assert {file.suffix for file in files} == {".csv"}
    assert (len(gone.frames), len(gone.failures), nothing) == (0, 1, [])


def test_workers_change_nothing_in_the_reports(
    tmp_path: Path, tiny_model: Path
) -> None:
    inputs = [FRAMES / "pbc_fields", FRAMES / "bccd", FRAMES / "pbc_fields" / "x.png"]

    one, four = (
        counted(inputs, tmp_path, tiny_model, pixel_size_um=None, workers=workers)[0]
        for workers in (1, 4)
    )

    for (alone, _), (together, _) in zip(one, four, strict=True):
        assert alone.findings == together.findings
        assert alone.frames == together.frames
        assert alone.failures == together.failures


STEPS = {
    "cellrot_infer.run.write_bytes": "file",
    "cellrot_infer.outputs.write_text": "report",
    "cellrot_infer.run.sync_folder": "sync",
    "cellrot_infer.run.Journal.add": "kept",
    "cellrot_infer.run.Journal.finish": "done",
}


def test_files_are_on_the_disk_before_the_journal_says_that_they_are(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for place, step in STEPS.items():
        work = pkgutil.resolve_name(place)
        monkeypatch.setattr(place, noted(work, step, done))

    counted([FRAMES / "pbc_fields"], tmp_path, tiny_model, kinds=("csv", "geojson"))

    image, reports = ["file", "sync", "kept"], 3 * ["report"]
    assert done == [*(6 * image), *reports, "sync", "done"]


def noted(
    work: Callable[..., object], step: str, done: list[str]
) -> Callable[..., object]:
    """Return `work`, which adds `step` to what is done when it returns."""

    def noting(*arguments: object, **named: object) -> object:
        result = work(*arguments, **named)
        done.append(step)
        return result

    return noting


def test_a_run_that_is_stopped_does_not_wait_for_a_large_image(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Event()

    def endless(task: Task, progress: Progress, **rest: object) -> Failure:
        if task.slide == 0:
            return Failure("first", "so that there is a slide to yield")
        begun.set()
        while True:
            progress.advance()

    monkeypatch.setattr("cellrot_infer.run.count_image", endless)
    slides = [tmp_path / "first.png", FRAMES / "pbc_fields"]
    request = Request(("csv",), tmp_path, read_scheme(), 0.1)
    with Journal(tmp_path) as journal:
        left = take_up(journal, request, find_slides(slides), str(tiny_model))
        run = Run(
            Classifier.load(tiny_model, device="cpu"),
            request,
            journal,
            find_slides(slides),
            workers=2,
        )
        reports = run.count(left)
        next(reports)
        assert begun.wait(timeout=60)
        assert isinstance(reports, Generator)
        reports.close()

    assert not [each for each in enumerate_threads() if "ThreadPool" in each.name]


@pytest.mark.parametrize(
    ("threads", "images", "shared"),
    [(4, 1, (1, 4)), (4, 2, (2, 2)), (4, 3, (3, 1)), (2, 900, (2, 1)), (1, 0, (1, 1))],
)
def test_images_come_before_threads_of_the_model(
    threads: int, images: int, shared: tuple[int, int]
) -> None:
    assert share_threads(threads, images) == shared


@pytest.mark.parametrize(("told", "words"), [(None, "automatic"), (0.1, "0.1 um")])
def test_a_report_says_how_the_pixel_size_came_about(
    tmp_path: Path, tiny_model: Path, told: float | None, words: str
) -> None:
    image = FRAMES / "pbc_fields" / "BA_10387.jpg"

    (((report, _),), _) = counted([image], tmp_path, tiny_model, pixel_size_um=told)

    assert dict(report.provenance.settings)["pixel size"] == words


def test_a_bar_shows_on_a_terminal_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes rich believe in a terminal
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)

    with terminal.ProgressBar(2) as bar:
        bar.advance()
        bar.clear()

    printed = capsys.readouterr()
    assert "1/2" in printed.err
    assert printed.out == ""


def test_no_bar_shows_when_it_is_quick_or_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal.ProgressBar(1) as bar:
        monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)
        bar.advance()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(terminal, "PATIENCE_S", 60.0)
    with terminal.ProgressBar(1) as bar:
        bar.advance()

    assert capsys.readouterr() == ("", "")
