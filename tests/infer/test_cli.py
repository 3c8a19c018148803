"""The command line: what is written, what is said, and the exit status."""

import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from cellrot_infer import cli, journal, pipeline
from cellrot_infer.terminal import bar, differential_table, frame_notes
from cellrot_infer.types import FrameRecord, PixelSize
from tests.conftest import write_model
from tests.infer.images import EVERY_KIND, FIELD, FRAMES
from tests.infer.slides import slide

FRAME = FRAMES / "bccd" / "BloodImage_00007.jpg"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Return a function that runs `cellrot-infer` as a shell would."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cellrot-infer", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def count(command: Command, tmp_path: Path, tiny_model: Path) -> Command:
    """Return a function that runs `slide` with the tiny model, into `out`."""

    def run(*arguments: object) -> Outcome:
        fixed = "--model", tiny_model, "--out", tmp_path / "out", "--device", "cpu"
        return command("slide", *arguments, *fixed)

    return run


def written(tmp_path: Path) -> set[str]:
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return names - {journal.NAME}


def copied(path: Path, source: Path = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)
    return path


def holding(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_an_image_becomes_three_tables(count: Command, tmp_path: Path) -> None:
    outcome = count(FRAME)

    assert outcome.status == 0
    assert written(tmp_path) == {
        "BloodImage_00007.cells.csv",
        "BloodImage_00007.differential.csv",
        "BloodImage_00007.summary.csv",
    }
    cells = (tmp_path / "out" / "BloodImage_00007.cells.csv").read_text("utf-8")
    assert cells.splitlines()[1].startswith("BloodImage_00007.jpg,1,")


def test_every_report_is_written(count: Command, tmp_path: Path) -> None:
    outcome = count(FRAME, "--report", "csv, json,HTML,geojson,overlay")

    assert outcome.status == 0
    endings = [
        "cells.csv",
        "differential.csv",
        "summary.csv",
        "json",
        "html",
        "geojson",
        "overlay.png",
    ]
    assert written(tmp_path) == {f"BloodImage_00007.{ending}" for ending in endings}


def test_a_folder_is_one_slide_with_a_file_a_frame(
    count: Command, tmp_path: Path
) -> None:
    for name in ("a.jpg", "a.png", "notes.txt"):
        copied(tmp_path / "in" / name)

    outcome = count(tmp_path / "in", "--report", "csv,geojson")

    assert outcome.status == 0
    assert written(tmp_path) == {
        *("in.cells.csv", "in.differential.csv", "in.summary.csv"),
        *("in.a.jpg.geojson", "in.a.png.geojson"),
    }


def test_reports_lie_as_the_inputs_do(count: Command, tmp_path: Path) -> None:
    for name in ("0815/a.jpg", "ward 3/0815/a.jpg"):
        copied(tmp_path / "in" / name)

    outcome = count(tmp_path / "in", "--recursive", "--report", "csv,geojson")

    assert outcome.status == 0
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.*son")}
    assert files == {"0815.a.geojson", "ward 3/0815.a.geojson"}
    assert (out / "ward 3" / "0815.cells.csv").exists()


def test_a_list_and_a_pattern_are_inputs(count: Command, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        copied(tmp_path / "in" / name)
    listed = holding(tmp_path / "list.txt", f"{tmp_path / 'in' / 'c.jpg'}\n".encode())

    outcome = count(tmp_path / "in" / "[ab].jpg", "--list", listed)

    assert outcome.status == 0
    names = {row.split(",")[0] for row in outcome.out.splitlines()[1:]}
    assert names == {"a.jpg", "b.jpg", "c.jpg"}


def test_letters_and_spaces_in_a_path_work(count: Command, tmp_path: Path) -> None:
    path = copied(tmp_path / "Größe" / "Präparat ä.jpg")

    assert count(path).status == 0
    assert "Präparat ä.cells.csv" in written(tmp_path)


def test_inputs_of_one_name_do_not_overwrite_each_other(
    count: Command, tmp_path: Path
) -> None:
    paths = [copied(tmp_path / day / "field.jpg") for day in ("monday", "tuesday")]

    assert count(*paths).status == 0
    assert {"monday_field.cells.csv", "tuesday_field.cells.csv"} <= written(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.png", b"no picture", "no PNG, JPEG, TIFF, WebP or BMP image"),
        ("half.png", EVERY_KIND["PNG"][:900], "cut off"),
        ("empty.png", b"", "the file is empty"),
        ("gone.png", None, "no such file"),
    ],
)
def test_a_bad_input_is_named_and_leaves_nothing(
    count: Command, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    outcome = count(path)

    assert outcome.status == 3
    assert f"failed: {path}: " in outcome.err
    assert reason in outcome.err
    assert outcome.out == ""
    assert written(tmp_path) == set()


def test_the_rest_goes_on_where_one_input_fails(count: Command, tmp_path: Path) -> None:
    bad = holding(tmp_path / "bad.jpg", FIELD.read_bytes()[:5000])

    outcome = count(bad, FRAME)

    assert outcome.status == 3
    assert "bad.jpg: cut off" in outcome.err
    assert "BloodImage_00007.cells.csv" in written(tmp_path)


def test_a_bad_frame_of_a_folder_is_in_its_report(
    count: Command, tmp_path: Path
) -> None:
    copied(tmp_path / "in" / "good.jpg")
    holding(tmp_path / "in" / "bad.jpg", b"")
    (tmp_path / "in" / "folder.png").mkdir()

    outcome = count(tmp_path / "in", "--report", "json")

    assert outcome.status == 3
    report = (tmp_path / "out" / "in.json").read_text("utf-8")
    assert "bad.jpg: the file is empty" in report
    assert "folder.png: a folder, expected an image file" in report


def test_a_folder_without_images_is_named(count: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    outcome = count(tmp_path / "in")

    assert outcome.status == 3
    assert "in: no images in this folder" in outcome.err


def test_only_data_goes_into_a_pipe(count: Command, tmp_path: Path) -> None:
    outcome = count(FRAME, copied(tmp_path / "=other.jpg"))

    header, *rows = outcome.out.splitlines()
    assert header == "slide,label,count,percent,ci_low,ci_high"
    assert {row.split(",")[0] for row in rows} == {FRAME.name, "'=other.jpg"}
    assert all(row.count(",") == 5 for row in rows)


def test_a_hostile_name_cannot_write_on_the_screen(
    count: Command, tmp_path: Path
) -> None:
    hostile = tmp_path / "\x1b[2J\u202egpj.exe"

    for outcome in (count(hostile), count(FRAME, "--lineages", hostile)):
        assert outcome.status in (1, 3)
        assert "\x1b" not in outcome.err
        assert "\u202e" not in outcome.err


def refused(outcome: Outcome, status: int, words: str) -> None:
    assert outcome.status == status
    assert words in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_an_unknown_model_is_refused(command: Command) -> None:
    outcome = command("slide", FRAME, "--model", "hnet-r9")

    refused(outcome, 1, "error: no model named 'hnet-r9' in")
    assert len(outcome.err.splitlines()) == 1


def test_a_model_that_is_not_ours_is_refused(command: Command, tmp_path: Path) -> None:
    path = holding(tmp_path / "other.onnx", b"\x08\x08")

    refused(command("slide", FRAME, "--model", path), 1, "no model of cellrot")


def test_cuda_that_is_not_there_is_refused(
    command: Command, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellrot_infer import devices

    monkeypatch.setattr(devices, "driver_obstacle", lambda: "there is no NVIDIA driver")
    outcome = command("slide", FRAME, "--model", tiny_model, "--device", "cuda")

    refused(outcome, 1, "error: --device cuda: there is no NVIDIA driver")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        ([FRAME, "--report", "csv,pdf"], "'pdf' is no report; there are csv, json"),
        ([FRAME, "--report", ""], "'' is no report"),
        ([FRAME, "--pixel-size", "40"], "--pixel-size"),
        ([FRAME, "--pixel-size", "nan"], "--pixel-size"),
        ([FRAME, "--device", "tpu"], "'tpu' is not one of"),
        ([FRAME, "--threads", "-1"], "--threads"),
        ([FRAME, "--colour"], "No such option"),
    ],
)
def test_wrong_usage_has_status_two(
    command: Command, arguments: list[object], words: str
) -> None:
    outcome = command("slide", *arguments)

    assert outcome.status == 2
    assert words in " ".join(outcome.err.replace("│", " ").split())


def test_an_output_folder_that_cannot_be_is_refused_before_work(
    count: Command, tmp_path: Path
) -> None:
    holding(tmp_path / "out", b"a file in the way")

    outcome = count(FRAME)

    refused(outcome, 1, "no folder to write into")
    assert len(outcome.err.splitlines()) == 1  # no model was loaded


def test_a_full_disk_leaves_no_half_file(
    count: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = count(FRAME)

    assert outcome.status == 1
    assert "cells.csv: cannot be written (No space left on device)" in outcome.err
    assert written(tmp_path) == set()


def test_an_interrupt_leaves_no_table(
    count: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "segment_field", interrupted)
    outcome = count(FRAME)

    assert outcome.status == 130
    assert "Traceback" not in outcome.err
    assert written(tmp_path) == set()


def test_too_little_memory_for_one_frame_is_told(
    count: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "segment_field", exhausted)
    outcome = count(FRAME)

    assert outcome.status == 3
    assert "BloodImage_00007.jpg: not enough memory" in outcome.err


def test_a_warning_is_told_once_for_all_its_frames() -> None:
    record = FrameRecord("a", "", 1, 1, PixelSize(0.1, "model"), ("dark", "pale"))
    other = FrameRecord("b", "", 1, 1, PixelSize(0.1, "model"), ("dark",))

    assert frame_notes([record, other]) == ["a, b: dark", "a: pale"]


def test_many_frames_with_one_warning_are_named_and_counted() -> None:
    size = PixelSize(0.1, "model")
    records = [FrameRecord(name, "", 1, 1, size, ("dark",)) for name in "abcdefgh"]

    assert frame_notes(records) == ["a, b, c, d, e and 3 more: dark"]


def test_the_table_reads_at_80_columns() -> None:
    console = Console(width=80, file=io.StringIO())
    report = slide(400)

    with console.capture() as printed:
        console.print(differential_table(report))

    lines = printed.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Marrow 17: 400 cells in 10 frames")
    for name in (*report.provenance.class_names, "uncertain", "unknown"):
        assert sum(line.split()[:1] == [name] for line in lines[1:]) == 1


@pytest.mark.parametrize(("fraction", "length"), [(0, 0), (0.5, 12), (1, 24)])
def test_a_bar_is_as_long_as_its_share(fraction: float, length: int) -> None:
    assert len(bar(fraction)) == length


def test_models_are_listed_and_bad_ones_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    monkeypatch.setenv("CELLROT_MODELS", str(tmp_path))
    assert command("models").out.splitlines()[1].split()[:3] == [
        "tiny",
        "mean-colour",
        "3",
    ]

    holding(tmp_path / "bad.onnx", b"\x00")
    outcome = command("models")

    assert outcome.status == 1
    assert "bad.onnx: no ONNX file" in outcome.err
    assert "tiny" in outcome.out


def test_the_doctor_has_status_one_where_something_is_wrong(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    monkeypatch.setenv("CELLROT_MODELS", str(tmp_path))
    assert command("doctor", "--out", tmp_path).status == 0

    outcome = command("doctor", "--out", tmp_path / "gone")

    assert outcome.status == 1
    assert "WRONG folder: " in outcome.out
    assert "repair: choose another with --out" in outcome.out


def test_bench_shows_a_speed_for_each_batch(command: Command, tiny_model: Path) -> None:
    outcome = command("bench", "--model", tiny_model, "--seconds", 0, "--threads", 1)

    header, row = outcome.out.splitlines()
    assert header.split() == [
        "model",
        "provider",
        "threads",
        "batch",
        "1",
        "batch",
        "8",
        "batch",
        "64",
    ]
    assert row.split()[:3] == ["tiny", "CPU", "1"]
    assert all(float(value) > 0 for value in row.split()[3:])


def test_the_version_is_told(command: Command) -> None:
    assert command("--version").out.startswith("cellrot-infer ")
