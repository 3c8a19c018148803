"""A card tells what cells look like at home: the colours of the stain, their size."""

from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.field import Field
from cellrot_infer.frames import read_frame
from cellrot_infer.restain import unlikeness
from cellrot_infer.segment import segment_field
from cellrot_infer.types import Box, Cell, StainColours
from cellrot_train import laboratory
from cellrot_train.data import PatchSet, load_patch_set
from cellrot_train.laboratory import Laboratory, survey
from tests.infer.images import FRAMES
from tests.train.conftest import SAMPLES


@pytest.fixture(scope="module")
def home() -> Laboratory:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laboratory, "CELLS", 110)
        patch.setattr(laboratory, "FEWEST", 3)
        return survey(load_patch_set(SAMPLES), 0.1)


def colours_of(path: Path) -> StainColours:
    _, colours = segment_field(Field.of(read_frame(path, pixel_size_um=0.1)))
    assert colours is not None
    return colours


def test_the_colours_are_those_of_the_laboratory_s_fields(home: Laboratory) -> None:
    fields = sorted((FRAMES / "pbc_fields").glob("*.jpg"))
    others = sorted((FRAMES / "bccd").glob("*.jpg"))

    assert home.stain is not None
    assert np.linalg.norm(home.stain.nuclei) == pytest.approx(1)
    assert all(unlikeness(colours_of(path), home.stain) < 1 for path in fields)
    assert all(unlikeness(colours_of(path), home.stain) == 1 for path in others)


def test_the_focus_is_that_of_sharp_fields(home: Laboratory) -> None:
    assert 0.4 < home.focus < 0.55


def test_platelets_are_the_smallest_cells(home: Laboratory) -> None:
    assert min(home.largest_um2, key=home.largest_um2.__getitem__) == "platelet"
    assert 30 < home.largest_um2["platelet"] < 130
    assert home.largest_um2["monocyte"] > 200


def test_a_class_of_few_cells_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laboratory, "CELLS", 22)

    assert survey(load_patch_set(SAMPLES), 0.1).largest_um2 == {}


def test_patches_without_a_cell_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def blank(_: PatchSet, rows: list[int], side_px: int) -> np.ndarray:
        return np.full((len(rows), side_px, side_px, 3), 230, np.uint8)

    monkeypatch.setattr(laboratory, "CELLS", 22)
    monkeypatch.setattr(laboratory, "decode_patches", blank)

    assert survey(load_patch_set(SAMPLES), 0.1) == Laboratory(None, 0.0, {})


def test_a_neighbour_in_the_corner_of_a_patch_is_not_its_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(_: Field) -> tuple[list[Cell], None]:
        return [square(128, 50.0), square(220, 900.0)], None

    monkeypatch.setattr(laboratory, "CELLS", 22)
    monkeypatch.setattr(laboratory, "FEWEST", 1)
    monkeypatch.setattr(laboratory, "segment_field", found)
    areas = survey(load_patch_set(SAMPLES), 0.1).largest_um2

    assert set(areas.values()) == {75.0}


def square(middle_px: int, area_um2: float) -> Cell:
    box = Box(middle_px - 20, middle_px - 20, 40, 40)
    return Cell(box, (), (), area_um2, 0.0, touches_border=False, quality=1.0)
