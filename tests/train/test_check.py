"""What is wrong with a patch set is named; a sound one is left in peace."""

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cellrot_train.check import Remark, check, count_labels, look_at
from cellrot_train.data import load_patch_set

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
CLASSES = ("eosinophil", "lymphocyte", "platelet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a small sound patch set: three classes, 30 real cells each."""
    root = tmp_path / "Zellen für Änne"
    with (SAMPLES / "index.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"] in CLASSES]
    for row in rows:
        (root / row["label"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / row["path"], root / row["path"])
    write_index(root, ((r["path"], r["label"], r["split"]) for r in rows))
    return root


def write_index(root: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    with (root / "index.csv").open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("path", "label", "split"), *rows])


def add(root: Path, name: str, image: NDArray | bytes, split: str = "train") -> None:
    """Put an image into the set, with the label that its folder says."""
    path = root / name
    content = image
    if not isinstance(image, bytes):
        content = cv2.imencode(path.suffix, image)[1].tobytes()
    path.write_bytes(content)  # type: ignore[arg-type]
    with (root / "index.csv").open("a", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerow((name, path.parent.name, split))


def cell(root: Path, number: int = 0) -> NDArray[np.uint8]:
    path = sorted(root.glob("*/*.webp"))[number]
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def remarks(root: Path, kind: str = "") -> list[Remark]:
    patch_set = load_patch_set(root)
    found = check(patch_set, list(look_at(patch_set.records)))
    return [remark for remark in found if kind in ("", remark.kind)]


def test_a_sound_set_is_left_in_peace(folder: Path) -> None:
    assert remarks(folder) == []


def test_the_samples_of_this_project_are_sound() -> None:
    assert remarks(SAMPLES) == []


def test_a_broken_image_is_named_and_the_rest_goes_on(folder: Path) -> None:
    add(folder, "platelet/cut.webp", (SAMPLES / "index.csv").read_bytes())
    whole = cv2.imencode(".png", cell(folder))[1].tobytes()
    add(folder, "platelet/half.png", whole[: len(whole) // 2])
    add(folder, "platelet/empty.png", b"")

    found = remarks(folder, "unreadable")

    names = [remark.names for remark in found]
    assert names == [(f"platelet/{n}",) for n in ("cut.webp", "half.png", "empty.png")]
    assert all(str(folder) not in remark.reason for remark in found)


def test_one_broken_image_in_a_hundred_is_the_limit(folder: Path) -> None:
    add(folder, "platelet/broken.png", b"no image")
    assert [r.reason for r in remarks(folder) if r.serious] == []  # 1 of 103

    add(folder, "platelet/too.png", b"no image")
    assert [r.reason for r in remarks(folder) if r.serious] == [
        "2 of 104 images cannot be used"
    ]


def test_grey_and_odd_sized_images_are_told(folder: Path) -> None:
    grey = cv2.cvtColor(cell(folder), cv2.COLOR_BGR2GRAY)
    add(folder, "platelet/grey.png", grey)
    add(folder, "platelet/large.png", cell(folder)[:, :200])

    assert [r.reason for r in remarks(folder, "unreadable")] == [
        "a grey image, expected colour"
    ]
    assert [r.reason for r in remarks(folder, "odd size")] == [
        "200 x 256 px, expected 256 x 256 as the others"
    ]


def test_a_blank_image_shows_nothing(folder: Path) -> None:
    blank = np.random.default_rng(0).normal((180, 200, 210), 2, (256, 256, 3))
    add(folder, "platelet/blank.png", blank.astype(np.uint8))

    assert [r.names for r in remarks(folder, "blank")] == [("platelet/blank.png",)]


def test_images_too_small_for_a_network_are_told(tmp_path: Path) -> None:
    for number in range(9):
        path = tmp_path / "blast" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        small = cv2.resize(cell(SAMPLES, number * 9), (40, 40))
        path.write_bytes(cv2.imencode(".png", small)[1].tobytes())

    (tiny,) = remarks(tmp_path, "tiny")

    assert tiny.reason == "images of 40 px, expected 64 or more"


def test_the_same_image_in_two_splits_spoils_the_set(folder: Path) -> None:
    train = next(r for r in load_patch_set(folder).records if r.split == "train")
    copy = cv2.imdecode(np.fromfile(train.file, np.uint8), cv2.IMREAD_COLOR)
    add(folder, "platelet/copy.png", np.asarray(copy), "test")

    (found,) = remarks(folder, "identical")

    assert found.serious
    assert found.names == (train.name, "platelet/copy.png")
    assert "in train and test" in found.reason
    assert f"labelled {train.label} and platelet" in found.reason


def test_the_same_image_twice_in_one_split_does_not(folder: Path) -> None:
    train = next(r for r in load_patch_set(folder).records if r.split == "train")
    add(folder, f"{train.label}/copy.webp", train.file.read_bytes())

    (found,) = remarks(folder, "identical")

    assert not found.serious
    assert found.reason == "the same image"


def test_a_turned_copy_is_found_across_splits(folder: Path) -> None:
    test = next(r for r in load_patch_set(folder).records if r.split == "test")
    image = cv2.imdecode(np.fromfile(test.file, np.uint8), cv2.IMREAD_COLOR)
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), 40, 1)
    turned = cv2.warpAffine(
        np.asarray(image), matrix, (256, 256), borderMode=cv2.BORDER_REFLECT_101
    )
    add(folder, f"{test.label}/turned.jpg", turned, "train")

    (found,) = remarks(folder, "near-duplicate")

    assert set(found.names) == {test.name, f"{test.label}/turned.jpg"}
    assert "in train and test" in found.reason


def test_another_stain_among_many_stands_out(folder: Path) -> None:
    strange = cell(folder, 5)[..., [2, 0, 1]]
    add(folder, "eosinophil/green.png", np.ascontiguousarray(strange))

    (found,) = remarks(folder, "colour outlier")

    assert found.names == ("eosinophil/green.png",)


def test_classes_that_cannot_be_learned_or_judged_are_told(folder: Path) -> None:
    for number in range(3):
        name = f"Platelet/{number}.png"
        (folder / "Platelet").mkdir(exist_ok=True)
        image = cv2.GaussianBlur(cell(folder, number * 30), (0, 0), 1)
        add(folder, name, np.asarray(image, np.uint8))

    found = {remark.kind: remark for remark in remarks(folder)}

    assert found["few"].reason == "3 training images of Platelet"
    assert found["missing"].names == ("Platelet",)
    assert found["spelling"].reason == "Platelet and platelet: one class?"


def test_labels_are_counted_by_split(folder: Path) -> None:
    add(folder, "platelet/new.png", cell(folder))
    text = (folder / "index.csv").read_text(encoding="utf-8")
    changed = text.replace("platelet/new.png,platelet", "platelet/new.png,")
    (folder / "index.csv").write_text(changed, encoding="utf-8")

    counts = count_labels(load_patch_set(folder))

    assert counts["platelet"] == {"train": 20, "val": 6, "test": 8}
    assert counts[""] == {"train": 1}
