"""Patch sets: what they hold, how they are split, what is refused."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cellrot_infer.errors import DataError, OutputError
from cellrot_train import pixels as pixels_module
from cellrot_train.data import (
    PatchRecord,
    PatchSet,
    keep_labels,
    load_patch_set,
    load_unlabelled,
    with_unlabelled,
)
from cellrot_train.pixels import Pixels, load_patches, load_pixels
from tests.train.conftest import SAMPLES, MakeImage


def class_folders(root: Path, make_image: MakeImage, **counts: int) -> Path:
    """Write images in class folders; the classes look different from each other."""
    seed = 0
    for label, count in counts.items():
        for number in range(count):
            seed += 1
            make_image(root / label / f"{number}.png", seed=seed)
    return root


def write_index(root: Path, rows: Sequence[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def slides(patch_set: PatchSet, split: str) -> set[str]:
    return {patch_set.records[row].slide for row in patch_set.indices(split)}


def test_an_index_gives_its_own_splits() -> None:
    patch_set = load_patch_set(SAMPLES)

    counts = {
        split: len(patch_set.indices(split)) for split in ("train", "val", "test")
    }

    assert counts == {"train": 220, "val": 66, "test": 88}
    assert len(patch_set.class_names) == 11
    assert list(patch_set.class_names) == sorted(patch_set.class_names)


def test_the_index_file_and_its_folder_are_the_same_set() -> None:
    by_file, by_folder = load_patch_set(SAMPLES / "index.csv"), load_patch_set(SAMPLES)

    assert by_file.records == by_folder.records


def test_class_folders_get_a_split_with_every_class_in_it(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path / "Präparat ä", make_image, blast=20, band=3)

    patch_set = load_patch_set(root)

    for split in ("train", "val", "test"):
        labels = Counter(patch_set.labels[patch_set.indices(split)].tolist())
        assert set(labels) == {0, 1}
    assert len(patch_set.indices("train")) == 15
    assert load_patch_set(root).records == patch_set.records


def test_a_split_by_slide_cuts_no_slide(tmp_path: Path, make_image: MakeImage) -> None:
    rows = ["path,label,slide"]
    for number in range(40):
        make_image(tmp_path / f"{number}.png", seed=number)
        rows.append(f"{number}.png,{'ab'[number % 2]},slide {number // 4}")

    patch_set = load_patch_set(write_index(tmp_path, rows))

    parts = [slides(patch_set, split) for split in ("train", "val", "test")]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_a_slide_in_two_splits_is_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    make_image(tmp_path / "1.png")
    make_image(tmp_path / "2.png", seed=1)
    rows = ["path,label,split,slide", "1.png,a,train,S7", "2.png,a,test,S7"]

    with pytest.raises(DataError, match=r"slide 'S7' is in more than one split"):
        load_patch_set(write_index(tmp_path, rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["path,split", "1.png,train"], "no column label"),
        (["path,label", "1.png,a", "gone.png,a"], "1 of 2 files are missing.*gone.png"),
        (["path,label,split", "1.png,a,training"], "line 2: split is 'training'"),
        (["path,label,split", "1.png,a,train", "2.png,a,"], "1 of 2 rows have no spl"),
        (["path,label", "1.png,a", "1.png,b"], "1.png is listed more than once"),
        (["path,label", ",a"], "line 2: the path is empty"),
        (["path,label,split", "1.png,a,train", "2.png,b,test"], "'b' is in test and"),
        (["path,label"], "no images"),
        (["path,label", "../1.png,a"], "line 2: '../1.png' leads out of the folder"),
        (["path,label", "a\\..\\..\\1.png,a"], "leads out of the folder"),
        (["path,label", "/etc/passwd,a"], "line 2: '/etc/passwd' leads out of the"),
        (["path,label", "C:1.png,a"], "'C:1.png' leads out of the folder"),
        (["path,label", r"\\host\share\1.png,a"], "leads out of the folder"),
        pytest.param(
            ["path,label", f"{'x' * 3000}.png,a"], "1 of 1 files are missing", id="long"
        ),
    ],
)
def test_a_faulty_index_is_refused_in_one_line(
    tmp_path: Path, make_image: MakeImage, rows: list[str], message: str
) -> None:
    make_image(tmp_path / "1.png")
    make_image(tmp_path / "2.png")

    with pytest.raises(DataError, match=message) as caught:
        load_patch_set(write_index(tmp_path, rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "images"), [(1, "1 image"), (2, "2 images")])
def test_a_class_of_few_images_is_refused(
    tmp_path: Path, make_image: MakeImage, count: int, images: str
) -> None:
    root = class_folders(tmp_path, make_image, blast=5, band=count)

    with pytest.raises(DataError, match=f"'band' has {images}, expected at least 3"):
        load_patch_set(root)


def test_a_class_that_reports_could_not_tell_from_no_class_is_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path, make_image, blast=5, Unknown=5)

    with pytest.raises(DataError, match="the class 'Unknown', which is what reports"):
        load_patch_set(root)
    assert len(load_unlabelled(root).records) == 10


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        load_patch_set(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load_patch_set(tmp_path / "gone")


def test_a_class_without_images_is_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path, make_image, blast=5)
    (root / "band").mkdir()

    with pytest.raises(DataError, match="band: holds no images"):
        load_patch_set(root)


def test_unlabelled_patches_of_a_tested_slide_are_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    for name in ("1", "2", "more/3"):
        make_image(tmp_path / f"{name}.png")
    rows = ["path,label,split,slide", "1.png,a,train,s1", "2.png,a,test,s2"]
    patch_set = load_patch_set(write_index(tmp_path, rows))
    extra = write_index(tmp_path / "more", ["path,label,slide", "3.png,,s2"])

    with pytest.raises(DataError, match="slide 's2' is in more than one split"):
        with_unlabelled(patch_set, load_unlabelled(extra))


def test_labels_beyond_the_wanted_classes_are_refused() -> None:
    with pytest.raises(DataError, match="'band_neutrophil', expected one of basophil"):
        load_patch_set(SAMPLES, ["basophil", "monocyte"])


def test_few_labels_are_kept_and_the_same_ones_each_time() -> None:
    few = keep_labels(load_patch_set(SAMPLES), 3, seed=5)

    labels = Counter(few.labels[few.indices("train")].tolist())
    assert labels.pop(-1) == 220 - 33
    assert set(labels.values()) == {3}
    assert len(few.indices("val")) == 66
    assert keep_labels(load_patch_set(SAMPLES), 3, seed=5).records == few.records
    assert keep_labels(load_patch_set(SAMPLES), 3, seed=6).records != few.records


def test_unlabelled_patches_only_train(tmp_path: Path, make_image: MakeImage) -> None:
    extra = class_folders(tmp_path, make_image, whatever=3, lonely=1)

    both = with_unlabelled(load_patch_set(SAMPLES), load_unlabelled(extra))

    assert len(both) == 374 + 4
    assert len(both.class_names) == 11
    assert set(both.labels[-4:].tolist()) == {-1}
    assert {record.split for record in both.records[-4:]} == {"train"}


def test_pixels_are_the_means_of_the_squares(pixels: Pixels) -> None:
    record = pixels.patch_set.records[7]
    content = np.frombuffer(record.file.read_bytes(), np.uint8)
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None
    image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

    means = image.reshape(32, 8, 32, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1)

    assert np.abs(pixels.images[7].numpy() - means).max() <= 0.5 + 1e-3


def test_patches_are_decoded_once(
    cache: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(pixels_module, "_decode_all", refuse)
    again = load_patches(load_patch_set(SAMPLES), "val", 32, cache)

    assert torch.equal(again, pixels.images[pixels.patch_set.indices("val")])


def test_a_changed_file_is_decoded_again(tmp_path: Path, make_image: MakeImage) -> None:
    root = class_folders(tmp_path / "set", make_image, blast=3, band=3)
    before = load_pixels(load_patch_set(root), 16)
    make_image(root / "band" / "0.png", side=32, seed=99)

    after = load_pixels(load_patch_set(root), 16)

    assert after.sha256 != before.sha256
    assert not torch.equal(after.images, before.images)


def test_the_fingerprint_does_not_depend_on_the_place(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path / "here", make_image, blast=3, band=3)
    shutil.copytree(root, tmp_path / "there")

    here, there = (load_patch_set(tmp_path / name) for name in ("here", "there"))

    assert load_pixels(here, 16).sha256 == load_pixels(there, 16).sha256
    relabelled = replace(here.records[0], label="blast")
    changed = replace(here, records=(relabelled, *here.records[1:]))
    assert load_pixels(changed, 16).sha256 != load_pixels(here, 16).sha256


def test_nothing_is_written_into_the_users_folder(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path, make_image, blast=3, band=3)
    before = sorted(root.rglob("*"))

    load_pixels(load_patch_set(root), 16)

    assert sorted(root.rglob("*")) == before


def spoilt_set(root: Path, make_image: MakeImage, good: int) -> PatchSet:
    class_folders(root, make_image, blast=good)
    (root / "blast" / "zz broken.png").write_bytes(b"no image")
    return load_patch_set(root)


def test_a_damaged_image_among_many_is_named_and_left_out(
    tmp_path: Path, make_image: MakeImage
) -> None:
    patch_set = spoilt_set(tmp_path, make_image, good=120)

    found = load_pixels(patch_set, 16)

    assert [name for name, _ in found.unreadable] == ["blast/zz broken.png"]
    assert found.unreadable[0][1].startswith("no PNG, JPEG, TIFF")
    assert len(found.images) == len(found.patch_set) == 120
    with pytest.raises(DataError, match=r"zz broken\.png cannot be used"):
        load_patches(patch_set, "train", 16)


def test_an_image_that_claims_a_million_pixels_is_not_decoded(
    tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path, make_image, blast=120)
    flat = np.full((1000, 1000, 3), (1, 2, 3), np.uint8)  # some kilobytes
    (tmp_path / "blast" / "zz.png").write_bytes(cv2.imencode(".png", flat)[1].tobytes())
    decoded, usual = list[int](), cv2.imdecode

    def spy(*arguments: Any) -> Any:  # noqa: ANN401
        image: Any = usual(*arguments)
        decoded.append(image.size)
        return image

    monkeypatch.setattr(cv2, "imdecode", spy)
    found = load_pixels(load_patch_set(tmp_path), 16)

    (unreadable,) = found.unreadable
    assert unreadable == (
        "blast/zz.png",
        "1000 x 1000 px, expected 32 x 32 as the others",
    )
    assert decoded == [32 * 32 * 3] * 120


def test_more_than_one_damaged_image_in_a_hundred_is_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    patch_set = spoilt_set(tmp_path, make_image, good=20)

    with pytest.raises(DataError, match=r"1 of 21 images cannot be used.*zz broken"):
        load_pixels(patch_set, 16)


def test_grey_images_are_refused_by_name(tmp_path: Path, make_image: MakeImage) -> None:
    class_folders(tmp_path, make_image, blast=5)
    grey = np.full((32, 32), 7, np.uint8)
    (tmp_path / "blast" / "2.png").write_bytes(cv2.imencode(".png", grey)[1].tobytes())

    with pytest.raises(DataError, match=r"blast/2\.png: a grey image"):
        load_pixels(load_patch_set(tmp_path), 16)


def test_another_crop_is_refused_and_a_rim_is_cut(
    tmp_path: Path, make_image: MakeImage
) -> None:
    class_folders(tmp_path, make_image, blast=5)
    make_image(tmp_path / "blast" / "3.png", side=33)
    assert load_pixels(load_patch_set(tmp_path), 16).source_side_px == 32

    make_image(tmp_path / "blast" / "3.png", side=64)
    with pytest.raises(DataError, match=r"3\.png: 64 x 64 px, expected 32 x 32"):
        load_pixels(load_patch_set(tmp_path), 16)


def test_the_pixel_size_follows_the_side_of_the_files(pixels: Pixels) -> None:
    assert pixels.pixel_size_um(0.1) == pytest.approx(0.1)
    assert replace(pixels, source_side_px=360).pixel_size_um(0.1) > 0.14


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, make_image: MakeImage
) -> None:
    root = class_folders(tmp_path / "set", make_image, blast=3, band=3)
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(OutputError, match="set CELLROT_CACHE to a folder"):
        load_pixels(load_patch_set(root), 16, tmp_path / "file" / "cache")


def test_an_unknown_split_is_our_mistake() -> None:
    record = PatchRecord(Path("a.png"), "a.png", "a", "train")
    with pytest.raises(ValueError, match="expected train, val, test or all"):
        PatchSet(Path(), (record,), ("a",)).indices("Train")


def test_patches_beyond_the_memory_of_a_gpu_stay_on_disk(
    pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, free = torch.device("cuda", 0), 2 * pixels.images.nbytes
    for limit_gb, free_bytes in ((0.0, free - 2), (1e-6, 100 * free)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, f=free_bytes: (f, f))

        assert pixels.on(cuda, limit_gb).images is pixels.images
