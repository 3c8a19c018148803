"""A patch set of frames is what inference would see, whole or not there at all."""

import csv
import shutil
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellrot_infer.errors import DataError, OutputError
from cellrot_infer.frames import read_frame
from cellrot_infer.images import read_image
from cellrot_infer.patches import cut_patches
from cellrot_infer.segment import segment
from cellrot_infer.types import Failure
from cellrot_train.cut import COLUMNS, CutFrame, cut_frames, find_frames
from cellrot_train.data import load_patch_set

FRAMES = Path(__file__).parents[1] / "data" / "frames"
ONE, TWO = (FRAMES / "bccd" / f"BloodImage_000{n}.jpg" for n in ("07", "31"))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_patches_are_those_of_inference(tmp_path: Path) -> None:
    out = tmp_path / "Zellen ä"

    list(cut_frames([TWO], out))

    frame = read_frame(TWO, fallback_um=0.1)
    cells = segment(frame)
    expected = cut_patches(frame, cells, 0.1)
    written = [read_image((out / r["path"]).read_bytes(), "") for r in rows(out)]
    np.testing.assert_array_equal(np.stack(written), expected)
    assert [int(r["x_px"]) for r in rows(out)] == [cell.box.x_px for cell in cells]


def test_the_set_can_be_loaded_and_knows_its_slides(tmp_path: Path) -> None:
    out = tmp_path / "set"
    frames = find_frames([FRAMES])

    results = list(cut_frames(frames, out))

    patch_set = load_patch_set(out)
    cut = sum(result.cells for result in results if isinstance(result, CutFrame))
    assert len(patch_set) == cut >= len(frames) == 15
    assert set(patch_set.slides) == {"bccd", "pbc_fields"}
    assert patch_set.class_names == ()
    assert list(rows(out)[0]) == list(COLUMNS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_folders_of_one_name_are_two_slides(tmp_path: Path) -> None:
    for parent in ("monday", "tuesday"):
        folder = tmp_path / parent / "slide 1"
        folder.mkdir(parents=True)
        shutil.copy(ONE, folder / "a.jpg")

    list(cut_frames(find_frames([tmp_path]), tmp_path / "set"))

    found = rows(tmp_path / "set")
    assert len({row["slide"] for row in found}) == 2
    assert len({row["path"] for row in found}) == len(found)


def test_frames_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    image = cv2.imdecode(np.fromfile(ONE, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    shutil.copy(ONE, tmp_path / "a.jpg")
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())

    list(cut_frames(find_frames([tmp_path]), tmp_path / "set"))

    names = [row["path"] for row in rows(tmp_path / "set")]
    assert len(set(names)) == len(names) == 2


def test_a_broken_frame_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(ONE.read_bytes()[:2000])

    results = list(cut_frames([broken, ONE], tmp_path / "set"))

    assert isinstance(results[0], Failure)
    assert "broken.jpg" in results[0].reason
    assert len(rows(tmp_path / "set")) == 1


def test_without_a_single_cell_nothing_is_written(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    blank = tmp_path / "blank.png"
    glass = np.full((300, 300, 3), 235, np.uint8)
    blank.write_bytes(cv2.imencode(".png", glass)[1].tobytes())

    with pytest.raises(DataError, match=r"1 of 2 frames that .*; the .*broken\.jpg"):
        list(cut_frames([broken, blank], tmp_path / "set"))

    assert {entry.name for entry in tmp_path.iterdir()} == {"broken.jpg", "blank.png"}


def test_a_cutting_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    cutting = cut_frames([ONE, TWO], tmp_path / "set")

    list(islice(cutting, 1))
    cutting.close()  # type: ignore[attr-defined]

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("mine", encoding="utf-8")

    with pytest.raises(OutputError, match="holds something already"):
        list(cut_frames([ONE], tmp_path))

    assert (tmp_path / "index.csv").read_text(encoding="utf-8") == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()

    list(cut_frames([ONE], out))

    assert len(rows(out)) == 1


def test_the_pixel_size_decides_how_much_is_seen(tmp_path: Path) -> None:
    list(cut_frames([ONE], tmp_path / "near", pixel_size_um=0.07))
    list(cut_frames([ONE], tmp_path / "far", pixel_size_um=0.07, patch_pixel_um=0.2))

    near, far = (
        read_image(
            (tmp_path / name / rows(tmp_path / name)[0]["path"]).read_bytes(), ""
        )
        for name in ("near", "far")
    )
    middle = cv2.resize(near, (128, 128), interpolation=cv2.INTER_AREA)
    likeness = cv2.matchTemplate(far, np.asarray(middle), cv2.TM_CCOEFF_NORMED).max()
    assert likeness > 0.97


def test_frames_are_found_once_and_only_images(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    shutil.copy(ONE, deep / "x.JPG")
    (deep / "notes.txt").write_text("no image", encoding="utf-8")
    (deep / ".hidden.jpg").write_bytes(b"")

    found = find_frames([tmp_path, deep / "x.JPG", deep])

    assert [path.name for path in found] == ["x.JPG"]
    with pytest.raises(DataError, match="no images in what was named"):
        find_frames([])
