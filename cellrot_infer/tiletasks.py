"""A large image as many tasks: planned, looked at some tiles at a time, put together.

What is handed from one to the next holds nothing of the file, so that each can be done
on another machine; every one opens the image anew. The result is that of `count_image`.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from cellrot_infer.classify import Classifier
from cellrot_infer.counting import (
    Counted,
    Request,
    Task,
    kept_of,
    size_and_time,
)
from cellrot_infer.errors import FrameError
from cellrot_infer.images import is_large
from cellrot_infer.largeimage import LargeImage, open_large, reopen
from cellrot_infer.pipeline import or_fail, result_of_scan
from cellrot_infer.scan import Looked, Plan, merge, plan_scan
from cellrot_infer.types import Failure, PixelSize

TILES = 16  # side by side, a task: they share what is decoded of the file


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """An image of which the tiles are still to be looked at.

    `file` is its `size_and_time`; the rest is what `open_large` found out.
    """

    task: Task
    request: Request
    plan: Plan
    file: tuple[int, int]
    pixel_size: PixelSize
    sha256: str
    warnings: tuple[str, ...]

    @property
    def parts(self) -> range:
        """Return the first tile of each part that `look_at` looks at."""
        return range(0, len(self.plan.tiles), TILES)

    def open(self) -> LargeImage:
        """Open the image again; raise FrameError where it is another one by now."""
        path = self.task.path
        if size_and_time(path) != self.file:
            raise FrameError(f"{path}: changed while it was counted")
        level = self.request.selection.level
        return reopen(path, level, self.pixel_size, self.sha256, self.warnings)


def is_in_tiles(task: Task, request: Request) -> bool:
    """Return whether the image of `task` is worth many tasks.

    It is not where a number of cells ends the work on it early.
    """
    chosen = request.selection
    return chosen.max_cells is None and (chosen.level > 0 or is_large(task.path))


def plan_image(
    task: Task, request: Request, classifier: Classifier
) -> Planned | Failure:
    """Return how the image of `task` is to be looked at, or why it cannot be."""
    file, path = size_and_time(task.path), task.path

    def opened() -> LargeImage:
        level, told_um = request.selection.level, request.pixel_size_um
        fallback_um = classifier.card.pixel_size_um
        return open_large(
            path, level=level, pixel_size_um=told_um, fallback_um=fallback_um
        )

    image = or_fail(opened, str(path), "read")
    if isinstance(image, Failure):
        return image
    with closing(image):
        told = file, image.pixel_size, image.sha256, image.warnings
        return or_fail(
            lambda: Planned(task, request, plan_scan(image, request.selection), *told),
            image.name,
            "analyze",
        )


def look_at(
    planned: Planned | Failure, first: int, classifier: Classifier
) -> list[Looked] | Failure:
    """Return what is in the part of the tiles that begins with `first`."""
    if isinstance(planned, Failure):
        return planned
    plan = planned.plan

    def looks() -> list[Looked]:
        with closing(planned.open()) as image:
            tiles = plan.tiles[first : first + TILES]
            return [plan.look(image, classifier, tile) for tile in tiles]

    return or_fail(looks, planned.task.path.name, "analyze")


def put_together(
    planned: Planned | Failure,
    parts: Sequence[list[Looked] | Failure],
    classifier: Classifier,
) -> Counted | Failure:
    """Return what is kept of the image; `parts` are what `look_at` gave of it."""
    if isinstance(planned, Failure):
        return planned
    if failed := next((part for part in parts if isinstance(part, Failure)), None):
        return failed
    task, request = planned.task, planned.request
    looks = (look for part in parts if not isinstance(part, Failure) for look in part)

    def counted() -> Counted:
        with closing(planned.open()) as image:
            found = merge(image, planned.plan, looks, classifier, request.selection)
            result = result_of_scan(image, found, classifier, request.selection)
            return kept_of(result, task, request, classifier, planned.file)

    return or_fail(counted, task.path.name, "analyze")
