"""An image that is counted in parts, anywhere, is counted as it is in one place."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cellrot_infer import tiletasks
from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Counted, Request, Task, count_image
from cellrot_infer.lineages import read_scheme
from cellrot_infer.tiletasks import (
    Planned,
    is_in_tiles,
    look_at,
    plan_image,
    put_together,
)
from cellrot_infer.types import Box, Failure, Selection
from tests.infer.images import FIELD
from tests.infer.test_scan import saved

KINDS = "csv", "html", "geojson", "overlay"


@pytest.fixture
def classifier(tiny_model: Path) -> Classifier:
    return Classifier.load(tiny_model, device="cpu", threads=1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small images have many tiles, and parts of few of them."""
    monkeypatch.setattr("cellrot_infer.tiles.Grid.tiles.__defaults__", (2,))
    monkeypatch.setattr(tiletasks, "TILES", 2)
    monkeypatch.setattr("cellrot_infer.images.IN_PARTS_PX", 100_000)


def asked(folder: Path, **chosen: object) -> tuple[Task, Request]:
    path = saved(folder)
    selection = Selection(**chosen)  # type: ignore[arg-type]
    request = Request(KINDS, folder, read_scheme(), selection=selection)
    return Task(0, 0, path, path, {}), request


def sent(value: object) -> object:
    return pickle.loads(pickle.dumps(value))


def in_parts(
    task: Task,
    request: Request,
    classifier: Classifier,
    meanwhile: Callable[[Path], object] = lambda _: None,
) -> Counted | Failure:
    """Count as workers on other machines do."""
    planned = sent(plan_image(task, request, classifier))
    assert isinstance(planned, Planned)
    assert len(planned.parts) > 1
    meanwhile(task.path)
    parts = [sent(look_at(planned, first, classifier)) for first in planned.parts]
    return put_together(planned, parts, classifier)  # type: ignore[arg-type]


@pytest.mark.parametrize("chosen", [{}, {"region": Box(100, 50, 300, 400)}])
def test_parts_put_together_are_the_whole(
    tmp_path: Path, classifier: Classifier, chosen: dict[str, object]
) -> None:
    task, request = asked(tmp_path, **chosen)
    assert is_in_tiles(task, request)

    whole = count_image(task, request, classifier)
    parts = in_parts(task, request, classifier)

    assert isinstance(whole, Counted)
    assert isinstance(parts, Counted)
    assert len(whole.kept.findings) > 1
    for name in ("file", "kept", "files", "pictures"):
        assert getattr(parts, name) == getattr(whole, name)


def test_a_frame_and_what_ends_early_are_one_task(tmp_path: Path) -> None:
    task, request = asked(tmp_path, max_cells=3)

    assert not is_in_tiles(task, request)
    assert not is_in_tiles(replace(task, path=FIELD), asked(tmp_path)[1])


def test_an_image_that_changes_meanwhile_is_named(
    tmp_path: Path, classifier: Classifier
) -> None:
    task, request = asked(tmp_path)

    found = in_parts(task, request, classifier, lambda path: os.utime(path, (1, 1)))

    assert found == Failure("slide.tif", f"{task.path}: changed while it was counted")


def test_a_damaged_image_fails_in_parts_as_it_does_as_a_whole(
    tmp_path: Path, classifier: Classifier
) -> None:
    task, request = asked(tmp_path, region=Box(0, 0, 640, 100))
    content = task.path.read_bytes()
    task.path.write_bytes(content[: len(content) // 4])

    planned = plan_image(task, request, classifier)

    assert isinstance(planned, Failure)
    assert planned == count_image(task, request, classifier)
    assert look_at(planned, 0, classifier) == planned
    assert put_together(planned, [], classifier) == planned


def test_what_one_part_fails_of_is_why_the_image_fails(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, request = asked(tmp_path)

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    def damage(_: Path) -> None:
        monkeypatch.setattr("cellrot_infer.tilecells.tile_cells", out_of_memory)

    found = in_parts(task, request, classifier, damage)

    reason = "slide.tif: not enough memory to analyze it"
    assert found == Failure("slide.tif", reason)
