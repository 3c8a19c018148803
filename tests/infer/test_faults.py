"""Whatever goes wrong is told in one line, and what is done stays done."""

import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer import pipeline
from cellrot_infer.card import read_model
from cellrot_infer.classify import Classifier
from cellrot_infer.field import Field
from cellrot_infer.segment import segment_field
from cellrot_infer.types import Cell, Frame, StainColours
from cellrot_infer.writers.json import read_report
from tests.conftest import tiny_card, tiny_onnx, write_model
from tests.infer.images import FIELD, FRAMES
from tests.infer.test_cli import Command, command, copied, count, written

Segmented = tuple[list[Cell], StainColours | None]

__all__ = ["command", "count"]  # fixtures


def huge_png(side_px: int) -> bytes:
    """Return a PNG that says it has so many pixels a side, and has hardly any."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero.png": (lambda path: path.write_bytes(b""), "the file is empty"),
    "cut.jpg": (lambda path: path.write_bytes(FIELD.read_bytes()[:9000]), "cut off"),
    "text.tif": (lambda path: path.write_text("no image"), "text.tif: "),
    "folder.png": (lambda path: path.mkdir(), "a folder, expected an image file"),
    "link.png": (lambda path: path.symlink_to("gone"), "a broken link"),
    "huge.png": (lambda path: path.write_bytes(huge_png(30_000)), "30000 x 30000"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_every_bad_input_is_named_and_the_rest_is_counted(
    count: Command, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "m.jpg", "z.jpg"):
        copied(tmp_path / "in" / name)
    for name, (make, _) in BAD.items():
        make(tmp_path / "in" / name)

    outcome = count(tmp_path / "in", tmp_path / "gone.png", "--report", "json")

    assert outcome.status == 3
    told = [line for line in outcome.err.splitlines() if line.startswith("failed: ")]
    for name, (_, reason) in {**BAD, "gone.png": (None, "no such file")}.items():
        assert [reason in line for line in told if name in line] == [True]
    report = read_report(tmp_path / "out" / "in.json")
    assert [frame.name for frame in report.frames] == ["a.jpg", "m.jpg", "z.jpg"]
    assert [Path(failure.path).name for failure in report.failures] == sorted(BAD)


def test_a_file_that_vanishes_while_the_run_goes_on_is_named(
    count: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        copied(tmp_path / "in" / name)

    def vanishing(seen: Field) -> Segmented:
        (tmp_path / "in" / "b.jpg").unlink(missing_ok=True)
        return segment_field(seen)

    monkeypatch.setattr(pipeline, "segment_field", vanishing)
    monkeypatch.setattr("cellrot_infer.run.judge_scales", lambda *_: {})
    monkeypatch.setattr("cellrot_infer.parallel.AHEAD", 0)
    outcome = count(tmp_path / "in", "--threads", 1)

    assert outcome.status == 3
    assert "b.jpg: no such file" in outcome.err


def too_large_for_opencv(_: Field) -> Segmented:
    cv2.resize(np.zeros((1, 1, 3), np.uint8), (2_000_000_000, 1_000_000))
    raise AssertionError("so much memory is nowhere")


def too_large_for_numpy(_: Field) -> Segmented:
    np.zeros((2**15, 2**15, 2**15))
    raise AssertionError("so much memory is nowhere")


@pytest.mark.parametrize("fault", [too_large_for_opencv, too_large_for_numpy])
def test_a_frame_that_needs_too_much_memory_is_named_and_the_rest_is_counted(
    count: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Field], Segmented],
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        copied(tmp_path / "in" / name)

    def limited(seen: Field) -> Segmented:
        return fault(seen) if seen.frame.name == "b.jpg" else segment_field(seen)

    monkeypatch.setattr(pipeline, "segment_field", limited)
    outcome = count(tmp_path / "in", "--report", "json")

    assert outcome.status == 3
    assert "b.jpg: not enough memory to analyze it" in outcome.err
    report = read_report(tmp_path / "out" / "in.json")
    assert [frame.name for frame in report.frames] == ["a.jpg", "c.jpg"]


def test_another_fault_of_opencv_is_no_lack_of_memory(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline, "segment_field", lambda _: cv2.resize(np.zeros(0), (1, 1))
    )

    with pytest.raises(cv2.error):
        list(pipeline.analyze_frames([field()], Classifier.load(tiny_model)))


def field() -> Frame:
    (frame,) = pipeline.read_frames([FIELD], pixel_size_um=0.1, fallback_um=0.1)
    assert isinstance(frame, Frame)
    return frame


def test_a_model_that_is_replaced_during_a_run_is_used_to_the_end(
    count: Command, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        copied(tmp_path / "in" / name)
    _, card = read_model(tiny_model)
    before = count(tmp_path / "in", "--report", "json")
    whole = read_report(tmp_path / "out" / "in.json")

    def replacing(seen: Field) -> Segmented:
        other = tiny_onnx(spoil=-1.0), tiny_card(name="other")
        write_model(tiny_model.parent, *other)
        return segment_field(seen)

    monkeypatch.setattr(pipeline, "segment_field", replacing)
    during = count(tmp_path / "in", "--report", "json")

    report = read_report(tmp_path / "out" / "in.json")
    assert (before.status, during.status) == (0, 0)
    assert read_model(tiny_model)[1].sha256 != card.sha256
    assert report.provenance.model == "tiny"
    assert report.provenance.model_sha256 == whole.provenance.model_sha256
    assert report.findings == whole.findings


def test_a_model_that_is_replaced_as_the_run_begins_is_told(
    count: Command, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellrot_infer import classify

    def replaced(path: Path) -> object:
        write_model(tiny_model.parent, card=tiny_card(name="other"))
        return read_model(path)

    monkeypatch.setattr(classify, "read_model", replaced)
    outcome = count(copied(tmp_path / "a.jpg"))

    assert outcome.status == 1
    assert "the model file was replaced as the run began; ask again" in outcome.err
    assert written(tmp_path) == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with room for 400 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_costs_nothing_but_room(
    count: Command, command: Command, tmp_path: Path, small_disk: Path, tiny_model: Path
) -> None:
    for number, image in enumerate(sorted((FRAMES / "pbc_fields").glob("*.jpg"))):
        copied(tmp_path / "in" / f"{number}.jpg", image)
    options = "--report", "csv,overlay,json", "--model", tiny_model, "--device", "cpu"
    filler = small_disk / "other files"

    filler.write_bytes(bytes(200_000))
    full = command("slide", tmp_path / "in", *options, "--out", small_disk)
    filler.unlink()
    left = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    subprocess.run(["mount", "-o", "remount,size=9M", str(small_disk)], check=True)
    resumed = command(
        "slide", tmp_path / "in", *options, "--out", small_disk, "--resume"
    )
    whole = count(tmp_path / "in", "--report", "csv,overlay,json")

    assert (full.status, resumed.status, whole.status) == (1, 0, 0)
    assert full.err.splitlines()[-1].startswith("error: ")
    assert "cannot be written (No space left" in full.err
    assert "Traceback" not in full.err
    assert not [name for name in left if name.endswith(".part")]
    assert resumed.out == whole.out
    for name in written(tmp_path) - {"in.json"}:  # which has the time in it
        content = (tmp_path / "out" / name).read_bytes()
        assert (small_disk / name).read_bytes() == content
        assert left.get(name, content) == content


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that nobody may write into."""
    place = tmp_path / "read only"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
    mounted = (
        shutil.which("mount") and not subprocess.run(mount, check=False).returncode
    )
    if not mounted:
        place.chmod(0o555)
    yield place
    if mounted:
        subprocess.run(["umount", str(place)], check=True)
    place.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    command: Command, tmp_path: Path, read_only: Path, tiny_model: Path
) -> None:
    image = copied(tmp_path / "a.jpg")

    for out in (read_only, read_only / "deeper"):
        outcome = command("slide", image, "--model", tiny_model, "--out", out)

        assert outcome.status == 1
        assert len(outcome.err.splitlines()) == 1
        assert "--out" in outcome.err
