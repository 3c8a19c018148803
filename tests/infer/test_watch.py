"""A folder that a camera writes into: every frame counts once, when it is complete."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cellrot_infer import counting, terminal
from cellrot_infer import watch as watching
from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Counted, Request, Task
from cellrot_infer.differential import denominator
from cellrot_infer.errors import DataError, OutputError
from cellrot_infer.journal import Journal
from cellrot_infer.lineages import read_scheme
from cellrot_infer.types import Failure
from cellrot_infer.watch import RETRY_S, SETTLE_S, Arrivals, Watch
from tests.infer.images import FRAMES
from tests.infer.slides import slide
from tests.infer.test_cli import Command, command, written

__all__ = ["command"]  # a fixture

FIELDS = sorted((FRAMES / "pbc_fields").glob("*.jpg"))


@dataclass
class Clock:
    """A clock that goes on when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Camera:
    """A folder under watch, and the clock that its files settle by."""

    folder: Path
    clock: Clock
    watch: Watch

    def saves(self, name: str, field: Path = FIELDS[0]) -> None:
        shutil.copy(field, self.folder / name)

    def settled(self, wait_s: float = SETTLE_S) -> list[str]:
        """Return what is told after two looks, `wait_s` apart."""
        told = [self.watch.count(name) for name in self.watch.arrivals.complete()]
        self.clock.now += wait_s
        return told + [self.watch.count(n) for n in self.watch.arrivals.complete()]

    def frames(self) -> list[str]:
        return [frame.name for frame in self.watch.report().frames]


Begin = Callable[..., Camera]


@pytest.fixture
def begin(tmp_path: Path, tiny_model: Path) -> Iterator[Begin]:
    """Return a function that begins to watch, once the last watch has ended."""
    (tmp_path / "in").mkdir()
    request = Request(("csv",), tmp_path, read_scheme(), 0.1)
    classifier = Classifier.load(tiny_model, device="cpu")
    journals: list[Journal] = []

    def begun(*, resume: bool | None = None) -> Camera:
        for journal in journals:
            journal.close()
        journals[:] = [Journal(tmp_path)]
        clock = Clock()
        arrivals = Arrivals(tmp_path / "in", clock=clock)
        engine = classifier, request, journals[0], str(tiny_model)
        watch = Watch.begin(arrivals, *engine, resume=resume)
        return Camera(tmp_path / "in", clock, watch)

    yield begun
    for journal in journals:
        journal.close()


@pytest.fixture
def camera(begin: Begin) -> Camera:
    return begin()


def test_a_frame_counts_when_it_no_longer_changes(camera: Camera) -> None:
    content = FIELDS[0].read_bytes()
    path = camera.folder / "a.jpg"
    for part in range(1, 5):
        path.write_bytes(content[: part * len(content) // 4])
        assert camera.settled(SETTLE_S / 2) == []

    assert camera.settled(SETTLE_S / 2) == ["a.jpg: 1 cell"]
    assert camera.settled() == []
    assert camera.frames() == ["a.jpg"]


def test_a_half_file_is_named_and_counts_once_it_is_whole(camera: Camera) -> None:
    (camera.folder / "a.jpg").write_bytes(FIELDS[0].read_bytes()[:4000])
    (told,) = camera.settled()
    assert "a.jpg: cut off" in told
    assert camera.settled(RETRY_S + SETTLE_S) == [""]  # was told before
    (failure,) = camera.watch.finish()[0].failures
    assert "cut off" in failure.reason

    camera.saves("a.jpg")

    assert camera.settled() == ["a.jpg: 1 cell"]
    assert camera.watch.report().failures == ()


def test_a_file_that_cannot_be_read_yet_is_tried_again(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = Failure("a.jpg", "a.jpg: cannot be read (Permission denied)")
    with monkeypatch.context() as patch:
        patch.setattr(watching, "count_image", lambda *_: locked)
        camera.saves("a.jpg")
        camera.settled()

    assert camera.settled(RETRY_S + SETTLE_S) == ["a.jpg: 1 cell"]


def test_a_file_that_goes_before_it_is_counted_is_forgotten(camera: Camera) -> None:
    camera.saves("a.jpg")
    camera.settled(0)
    (camera.folder / "a.jpg").unlink()

    assert camera.settled() == []
    assert camera.watch.finish() == (camera.watch.report(), [])


def test_a_file_that_failed_and_went_is_no_failure(camera: Camera) -> None:
    path = camera.folder / "a.jpg"
    path.write_bytes(FIELDS[0].read_bytes()[:4000])
    camera.settled()
    assert len(camera.watch.report().failures) == 1

    path.unlink()

    assert camera.settled() == []
    assert camera.watch.report().failures == ()


def test_a_file_that_goes_or_changes_while_it_is_read_does_not_count(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = counting.count_image

    def slow(task: Task, request: Request, classifier: Classifier) -> Counted | Failure:
        found = work(task, request, classifier)
        if task.path.name == "a.jpg":
            task.path.unlink()
        else:
            task.path.write_bytes(b"new")
        return found

    monkeypatch.setattr(watching, "count_image", slow)
    camera.saves("a.jpg")
    camera.saves("b.jpg")

    assert all("changed or went" in told for told in camera.settled())
    assert camera.frames() == []


def test_a_frame_that_is_written_anew_counts_anew(camera: Camera) -> None:
    camera.saves("a.jpg")
    camera.saves("b.jpg", FIELDS[1])
    camera.settled()
    before = camera.watch.report().frames

    camera.saves("a.jpg", FIELDS[2])

    assert camera.settled() == ["a.jpg: 1 cell"]
    assert camera.frames() == ["a.jpg", "b.jpg"]
    assert camera.watch.report().frames[0] != before[0]
    assert camera.watch.report().frames[1] == before[1]


def test_a_frame_that_is_renamed_counts_once(camera: Camera) -> None:
    camera.saves("tmp.jpg")
    camera.settled()
    (camera.folder / "tmp.jpg").rename(camera.folder / "a.jpg")

    assert camera.settled() == ["a.jpg: is tmp.jpg, which is counted"]
    assert camera.frames() == ["tmp.jpg"]


def test_what_is_renamed_into_place_counts(camera: Camera) -> None:
    camera.saves("a.jpg.part")
    assert camera.settled() == []
    (camera.folder / "a.jpg.part").rename(camera.folder / "a.jpg")

    assert camera.settled() == ["a.jpg: 1 cell"]


@pytest.mark.parametrize("time_s", [0, 4_000_000_000])
def test_a_clock_that_is_changed_doubles_nothing(camera: Camera, time_s: int) -> None:
    camera.saves("a.jpg")
    camera.settled()
    os.utime(camera.folder / "a.jpg", (time_s, time_s))
    camera.saves("b.jpg", FIELDS[1])
    os.utime(camera.folder / "b.jpg", (time_s, time_s))

    assert sorted(camera.settled()) == [
        "a.jpg: is a.jpg, which is counted",
        "b.jpg: 1 cell",
    ]
    assert camera.frames() == ["a.jpg", "b.jpg"]


def test_a_share_that_is_away_for_a_while_is_waited_for(camera: Camera) -> None:
    camera.saves("a.jpg")
    camera.settled()
    away = camera.folder.rename(camera.folder.with_name("away"))
    assert camera.settled() == []
    away.rename(camera.folder)
    camera.saves("b.jpg", FIELDS[1])

    assert camera.settled() == ["b.jpg: 1 cell"]


def test_a_watch_that_was_cut_off_goes_on(begin: Begin) -> None:
    camera = begin()
    camera.saves("b.jpg")
    camera.settled()
    camera.saves("a.jpg", FIELDS[1])
    camera.settled()
    whole = camera.watch.report()

    with pytest.raises(OutputError, match="go on with it with --resume"):
        begin()
    again = begin(resume=True)
    again.saves("c.jpg", FIELDS[2])

    assert again.watch.report() == whole
    assert again.settled() == ["c.jpg: 1 cell"]
    assert again.watch.finish()[0].frames[:2] == whole.frames
    assert begin(resume=True).frames() == ["b.jpg", "a.jpg", "c.jpg"]


def test_the_first_frames_tell_the_scale_of_all(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SCALE_SAMPLE", 3)
    run = camera.watch.run
    object.__setattr__(run.request, "pixel_size_um", None)
    for number, field in enumerate(FIELDS[:4]):
        camera.saves(f"{number}.jpg", field)
        camera.settled()

    kept = run.journal.scales(0)
    assert kept
    last = camera.watch.report().frames[3]
    assert last.pixel_size == kept[last.height_px, last.width_px]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, begin: Begin) -> None:
    (tmp_path / "in").rmdir()

    with pytest.raises(DataError, match="in: no such folder to watch"):
        begin()


@pytest.fixture
def watch(
    command: Command, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Return a function that runs `watch` on six fields, which settle at once."""
    monkeypatch.setattr(watching, "SETTLE_S", 0.0)
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    monkeypatch.setattr(Arrivals, "__init__", settling_at_once(Arrivals.__init__))
    shutil.copytree(FRAMES / "pbc_fields", tmp_path / "in")
    options = "--model", tiny_model, "--out", tmp_path / "out", "--device", "cpu"
    return lambda *more: command("watch", tmp_path / "in", *options, *more)


def settling_at_once(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, folder: init(self, folder, settle_s=0.0)


def test_it_stops_by_itself_where_that_is_asked(watch: Command, tmp_path: Path) -> None:
    outcome = watch("--cells", 3, "--stop", "--report", "csv,html")

    assert outcome.status == 0
    lines = outcome.err.splitlines()
    assert [line.split("; ")[1] for line in lines if "cell; " in line] == [
        "1 of 3 cells",
        "2 of 3 cells",
        "3 of 3 cells",
    ]
    assert outcome.out.startswith("slide,label,count,percent,ci_low,ci_high\nin,")
    assert {"in.cells.csv", "in.html", "in.json"} <= written(tmp_path)


def test_ctrl_c_finishes_the_frame_in_work_and_reports(
    watch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = counting.count_image

    def pressed(
        task: Task, request: Request, classifier: Classifier
    ) -> Counted | Failure:
        signal.raise_signal(signal.SIGINT)
        return work(task, request, classifier)

    monkeypatch.setattr(watching, "count_image", pressed)
    before = signal.getsignal(signal.SIGINT)

    outcome = watch("--pixel-size", "0.1")

    assert outcome.status == 0
    assert signal.getsignal(signal.SIGINT) is before
    cells = (tmp_path / "out" / "in.cells.csv").read_text("utf-8").splitlines()
    assert len(cells) == 1 + 1


def test_files_of_each_frame_are_none_of_its_reports(watch: Command) -> None:
    outcome = watch("--report", "csv,overlay", "--cells", 1, "--stop")

    assert outcome.status == 2
    assert "watch writes csv, json and html" in outcome.err


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[terminal.LiveCount]:
    """Yield the count of 500 cells on a terminal of 24 rows."""
    values = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    for name, value in values.items():  # which make rich believe in it
        monkeypatch.setenv(name, value)
    with terminal.LiveCount(500) as shown:
        yield shown


def test_a_terminal_shows_a_table_that_is_kept_up_to_date(
    live: terminal.LiveCount, capsys: pytest.CaptureFixture[str]
) -> None:
    for cells in (30, 60):
        live.show("b.png: 3 cells", slide(cells), [])

        printed = capsys.readouterr()
        assert f"Marrow 17: {cells} cells" in printed.out
        assert printed.err == ""


def test_a_small_terminal_shows_what_is_counted_what_failed_and_what_is_awaited(
    live: terminal.LiveCount, capsys: pytest.CaptureFixture[str]
) -> None:
    report = replace(slide(60), failures=(Failure("a.png", "a.png: cut off"),))

    live.show("b.png: 3 cells", report, ["c.png", "d.png"])

    printed = capsys.readouterr().out
    assert f"{denominator(report)} of 500 cells" in printed
    assert "waiting for c.png, 2 in all" in printed
    assert "a.png: cut off" in printed
