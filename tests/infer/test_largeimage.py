"""Large files are opened without being read, or refused before memory is taken."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellrot_infer import images
from cellrot_infer.errors import FrameError
from cellrot_infer.images import is_large
from cellrot_infer.largeimage import LargeImage, open_large
from cellrot_infer.pipeline import read_frames, read_or_fail
from cellrot_infer.types import Box, Failure
from tests.infer.images import FRAMES, field
from tests.infer.stitched import stitched
from tests.infer.test_frames import tiff_claiming

TILED: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64)}


def saved(folder: Path, pixels: np.ndarray | None = None, **options: Any) -> Path:  # noqa: ANN401
    path = folder / "slide.tif"
    shown = field(300, 200) if pixels is None else pixels
    tifffile.imwrite(path, shown, **(TILED | options))
    return path


def test_a_tiff_of_many_pixels_is_large_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    assert not is_large(path)
    monkeypatch.setattr(images, "IN_PARTS_PX", 50_000)
    assert is_large(path)
    assert not is_large(FRAMES / "pbc_fields" / "BA_10387.jpg")
    assert not is_large(tmp_path / "gone.tif")


METRIC: dict[str, Any] = {
    "resolution": (1e4 / 0.12, 1e4 / 0.12),
    "resolutionunit": "CENTIMETER",
}
OME: dict[str, Any] = {
    "ome": True,
    "metadata": {"axes": "YXS", "PhysicalSizeX": 0.12, "PhysicalSizeY": 0.12},
}


@pytest.mark.parametrize("options", [METRIC, OME, OME | {"bigtiff": True}])
def test_the_pixel_size_comes_from_the_file(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    image = open_large(saved(tmp_path, **options))

    assert image.pixel_size.source == "metadata"
    assert image.pixel_size.um == pytest.approx(0.12)
    image.close()


def test_a_pixel_size_that_is_told_wins_with_a_warning(tmp_path: Path) -> None:
    image = open_large(saved(tmp_path, **METRIC), pixel_size_um=0.2)

    assert (image.pixel_size.um, image.pixel_size.source) == (0.2, "option")
    assert "the file says 0.12 um" in image.warnings[0]
    image.close()


def test_red_cells_all_over_the_image_tell_its_pixel_size(tmp_path: Path) -> None:
    image = open_large(saved(tmp_path, stitched(2200, 1600, 0.1)))

    assert image.pixel_size.source == "red cells"
    assert image.pixel_size.um == pytest.approx(0.1, rel=0.2)
    image.close()


def test_where_nothing_tells_the_pixel_size_the_models_own_is_taken(
    tmp_path: Path,
) -> None:
    image = open_large(saved(tmp_path, np.full((200, 300, 3), 230, np.uint8)))

    assert image.pixel_size.source == "model"
    assert "pixel size unknown" in image.warnings[0]
    image.close()


def test_a_small_file_that_claims_ten_thousand_million_pixels_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bomb.tif"
    path.write_bytes(tiff_claiming(100_000))

    result = read_or_fail(path, pixel_size_um=None, fallback_um=0.1, scales={})

    assert isinstance(result, Failure)
    assert "claims 100000 x 100000 pixels in" in result.reason


@pytest.mark.skipif(sys.platform == "win32", reason="limits are of POSIX")
@pytest.mark.parametrize("suffix", ["tif", "svs"])
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(tiff_claiming(100_000))
    code = (
        "import resource, sys; from pathlib import Path;"
        "from cellrot_infer.pipeline import read_frames, read_or_fail;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(read_or_fail(Path(sys.argv[1]), pixel_size_um=None, fallback_um=0.1,"
        " scales={}).reason);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    reason, grown = done.stdout.splitlines()

    assert str(path) in reason
    assert int(grown) * (1 if sys.platform == "darwin" else 1024) < 100_000_000


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])

    with pytest.raises(FrameError, match=r"slide\.tif: cut off"):
        open_large(path)


def test_a_picture_without_levels_has_level_0_only() -> None:
    with pytest.raises(FrameError, match="has level 0 only"):
        open_large(FRAMES / "pbc_fields" / "BA_10387.jpg", level=1)


def test_without_tifffile_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    monkeypatch.setitem(sys.modules, "tifffile", None)

    with pytest.raises(FrameError, match=r"pip install 'cellrot\[slides\]'"):
        open_large(path)


def test_a_large_file_among_frames_is_closed_when_the_next_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IN_PARTS_PX", 50_000)
    closed: list[LargeImage] = []
    close = LargeImage.close

    def watched(image: LargeImage) -> None:
        closed.append(image)
        close(image)

    monkeypatch.setattr(LargeImage, "close", watched)
    frames = read_frames([saved(tmp_path)], pixel_size_um=0.1, fallback_um=0.1)
    image = next(frames)

    assert isinstance(image, LargeImage)
    assert image.read(Box(0, 0, 20, 20)).shape == (20, 20, 3)
    assert not closed
    assert list(frames) == []
    assert closed == [image]


def test_the_file_is_hashed_and_read_where_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path)
    image = open_large(path)

    assert image.sha256 == images.file_sha256(path)
    assert (image.read(Box(10, 20, 30, 40)) == field(300, 200)[20:60, 10:40]).all()
    image.close()
