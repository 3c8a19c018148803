"""Corrected cells become training patches: the cell that was seen, the label given."""

import csv
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer import images
from cellrot_infer.errors import CellrotError, DataError
from cellrot_infer.frames import read_frame
from cellrot_infer.images import read_image
from cellrot_infer.patches import cut_patches
from cellrot_infer.segment import segment
from cellrot_infer.types import Cell, Frame
from cellrot_infer.writers.csv import plain
from cellrot_train import cli, training
from cellrot_train.config import Config
from cellrot_train.corrections import CorrectedSet, with_corrections
from cellrot_train.data import PatchRecord, load_patch_set
from cellrot_train.display import Silent
from cellrot_train.fit import fit, read_data
from tests.train.conftest import SAMPLES

FIELD = Path(__file__).parents[1] / "data" / "frames" / "pbc_fields" / "EO_16004.jpg"
COLUMNS = (
    *("frame", "cell", "before", "label", "reviewer", "time", "report_sha256"),
    *("frame_sha256", "x_px", "y_px", "width_px", "height_px", "pixel_size_um"),
)
Row = dict[str, object]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Return a folder of one real frame with a name that a spreadsheet would run."""
    folder = tmp_path / "slides" / "0815"
    folder.mkdir(parents=True)
    shutil.copy(FIELD, folder / "=field.jpg")
    return folder


def cells_of(path: Path) -> tuple[Frame, list[Cell]]:
    frame = read_frame(path, pixel_size_um=0.1)
    return frame, segment(frame)


def row_of(path: Path, cell: Cell, label: str, **others: object) -> Row:
    box = cell.box
    return {
        "frame": plain(path.name),
        "cell": 1,
        "before": "monocyte",
        "label": plain(label),
        "reviewer": "A. B.",
        "time": "2026-03-02T10:00:00Z",
        "report_sha256": "ab" * 32,
        "frame_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "x_px": box.x_px,
        "y_px": box.y_px,
        "width_px": box.width_px,
        "height_px": box.height_px,
        "pixel_size_um": 0.1,
        **others,
    }


def save(path: Path, *rows: Row, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as lines:
        table = csv.DictWriter(lines, COLUMNS, delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def join(labels: Path, frames: Path, data: Path = SAMPLES) -> CorrectedSet:
    out = (labels if labels.is_dir() else labels.parent) / "runs"
    return with_corrections(data, labels, frames, out, patch_pixel_um=0.1)


def added(found: CorrectedSet) -> list[PatchRecord]:
    records = load_patch_set(found.folder).records
    return [record for record in records if record.name.startswith("corrected cells/")]


def test_a_corrected_cell_trains_with_its_label_as_it_was_seen(slide: Path) -> None:
    path = slide / "=field.jpg"
    frame, cells = cells_of(path)
    labels = save(slide / "c.csv", *(row_of(path, cell, "blast") for cell in cells))

    found = join(labels, slide.parent)

    records = added(found)
    assert len(records) == len(cells) == found.cells > 0
    assert {(r.label, r.split, r.slide) for r in records} == {
        ("blast", "train", "0815")
    }
    assert found.new_classes == ("blast",)
    written = [read_image(record.file.read_bytes(), "") for record in records]
    np.testing.assert_array_equal(np.stack(written), cut_patches(frame, cells, 0.1))


def test_a_cell_of_an_image_that_is_read_in_parts_is_cut_as_well(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a whole slide; a cell at the edge gets the glass of the whole image."""
    pytest.importorskip("tifffile")
    frame, cells = cells_of(FIELD)
    path = slide / "slide.tif"
    pixels = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".tif", pixels)[1].tobytes())
    labels = save(slide / "c.csv", *(row_of(path, cell, "blast") for cell in cells))
    outside = row_of(path, cells[0], "blast") | {"x_px": 99_999}

    monkeypatch.setattr(images, "IN_PARTS_PX", 1000)
    found = join(labels, slide.parent)

    written = [read_image(record.file.read_bytes(), "") for record in added(found)]
    whole = cut_patches(frame, cells, 0.1)
    inside = cv2.absdiff(np.stack(written), whole)[:, 64:192, 64:192]
    assert len(written) == len(cells) > 0
    assert inside.max() == 0
    with pytest.raises(DataError, match="is not in the frame"):
        join(save(slide / "c.csv", outside), slide)


def test_the_patches_that_were_there_stay_what_they_are(slide: Path) -> None:
    path = slide / "=field.jpg"
    labels = save(slide / "c.csv", row_of(path, cells_of(path)[1][0], "monocyte"))

    found = join(labels, slide)

    before, after = load_patch_set(SAMPLES), load_patch_set(found.folder)
    assert after.class_names == before.class_names
    kept = [record for record in after.records if record not in added(found)]
    assert [(r.name, r.label, r.split) for r in kept] == [
        (r.name, r.label, r.split) for r in before.records
    ]
    for one, other in zip(kept[::50], before.records[::50], strict=True):
        assert one.file.read_bytes() == other.file.read_bytes()


def test_the_last_word_on_a_cell_counts(slide: Path) -> None:
    path = slide / "=field.jpg"
    cell = cells_of(path)[1][0]
    late = row_of(path, cell, "lymphocyte", time="2026-03-03T10:00:00Z")
    save(slide / "a.corrections.csv", late)
    save(slide / "b.corrections.csv", row_of(path, cell, "monocyte"))

    found = join(slide, slide)

    assert [record.label for record in added(found)] == ["lymphocyte"]


def test_a_german_spreadsheet_may_have_saved_it(slide: Path) -> None:
    path = slide / "=field.jpg"
    row = row_of(path, cells_of(path)[1][0], "monocyte", pixel_size_um="0,1")
    labels = save(slide / "c.csv", row, delimiter=";")

    assert len(added(join(labels, slide))) == 1


def test_a_slide_stays_in_its_split(slide: Path, tmp_path: Path) -> None:
    lines = ["path,label,split,slide"]
    for number, split in enumerate(("train", "val", "test")):
        shutil.copy(next((SAMPLES / "monocyte").iterdir()), tmp_path / f"{number}.webp")
        lines.append(
            f"{number}.webp,monocyte,{split},{'0815' if number == 1 else number}"
        )
    (tmp_path / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    path = slide / "=field.jpg"
    labels = save(slide / "c.csv", row_of(path, cells_of(path)[1][0], "monocyte"))

    (record,) = added(join(labels, slide, data=tmp_path))

    assert record.split == "val"


def test_a_frame_that_changed_is_refused_and_nothing_stays(slide: Path) -> None:
    path = slide / "=field.jpg"
    labels = save(slide / "c.csv", row_of(path, cells_of(path)[1][0], "monocyte"))
    pixels = read_frame(FIELD, pixel_size_um=0.1).pixels[:, ::-1]
    path.write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())

    with pytest.raises(DataError, match="is not the frame that was reviewed"):
        join(labels, slide)

    assert not list((slide / "runs").glob("*"))


def test_of_two_frames_with_one_name_the_reviewed_one_is_taken(slide: Path) -> None:
    path = slide / "=field.jpg"
    frame, (cell, *_) = cells_of(path)
    labels = save(slide / "c.csv", row_of(path, cell, "monocyte"))
    other = slide.parent / "0001" / path.name
    other.parent.mkdir()
    shutil.copy(FIELD.with_name("LY_13675.jpg"), other)

    (record,) = added(join(labels, slide.parent))

    (expected,) = cut_patches(frame, [cell], 0.1)
    written = read_image(record.file.read_bytes(), "")
    np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"frame": "gone.jpg"}, "has no frame 'gone.jpg'.*--frames"),
        ({"x_px": "ten"}, "line 2: x_px is 'ten', expected a number"),
        ({"x_px": -5}, "line 2: .*is no box"),
        ({"width_px": 0}, "line 2: .*is no box"),
        ({"x_px": 99_999}, "is not in the frame"),
        ({"x_px": "inf"}, "line 2: x_px is 'inf'"),
        ({"pixel_size_um": "nan"}, "line 2: pixel_size_um is 'nan'"),
        ({"pixel_size_um": "5"}, "line 2: the pixel size is 5 um"),
        ({"pixel_size_um": "01. Jan"}, "line 2: pixel_size_um is '01. Jan'"),
        ({"label": " "}, "line 2: the label is empty"),
    ],
)
def test_what_cannot_be_cut_is_refused(slide: Path, changes: Row, problem: str) -> None:
    path = slide / "=field.jpg"
    row = row_of(path, cells_of(path)[1][0], "monocyte") | changes

    with pytest.raises(DataError, match=problem):
        join(save(slide / "c.csv", row), slide)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("frame,cell\n", "no table of corrections"),
        ("frame,cell,before,label,reviewer,time,report_sha256\n", "holds no corr"),
        ("frame,cell,before,label,reviewer,time,report_sha256\na,1,b,c,d,e,f", "lacks"),
        ("\x00\xff", "no table|UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(slide: Path, table: str, problem: str) -> None:
    (slide / "c.csv").write_text(table, encoding="latin-1")

    with pytest.raises(CellrotError, match=problem):
        join(slide / "c.csv", slide)


def test_a_run_learns_from_corrections_and_can_go_on(
    slide: Path, tiny: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.Training, "_portray", lambda *_: None)
    monkeypatch.setattr(training, "L2", training.L2[1:2])
    for label in ("lymphocyte", "monocyte"):
        (slide / "set" / label).mkdir(parents=True)
        for file in sorted((SAMPLES / label).iterdir())[:8]:
            shutil.copy(file, slide / "set" / label)
    path = slide / "=field.jpg"
    labels = save(slide / "c.csv", row_of(path, cells_of(path)[1][0], "blast"))
    config = replace(tiny, epochs=1, data=str(slide / "set"))

    run = fit(config, root=slide, corrections=(labels, slide), cache=cache)

    known = run.read_json("data.json")
    assert known["class_names"] == ["blast", "lymphocyte", "monocyte"]
    assert known["counts"] == {"train": 13, "val": 2, "test": 2}
    labels.unlink()  # a run needs its patches alone to go on
    assert read_data(run.config, cache, Silent()).sha256 == known["sha256"]


def test_the_command_looks_for_frames_beside_the_corrections(
    slide: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = slide / "=field.jpg"
    row = row_of(path, cells_of(path)[1][0], "monocyte", frame="other.jpg")
    labels = save(slide / "c.csv", row)
    monkeypatch.setattr("sys.argv", ["cellrot-train", "fit", "--labels", str(labels)])

    with pytest.raises(SystemExit) as stopped:
        cli.main()

    assert stopped.value.code == 1
    assert f"{slide}: has no frame 'other.jpg'" in capsys.readouterr().err
