"""The work on one image: from its path to all that a run keeps of it.

It reads the image and writes nothing, so that it can be done in any order, by several
threads or on another machine.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cellrot_infer.classify import Classifier
from cellrot_infer.frames import Scales
from cellrot_infer.journal import FileState, Kept
from cellrot_infer.largeimage import LargeImage
from cellrot_infer.outputs import frame_files, frame_pictures
from cellrot_infer.pipeline import (
    FrameResult,
    analyze_or_fail,
    compose_report,
    or_fail,
    read_or_fail,
)
from cellrot_infer.provenance import Pairs
from cellrot_infer.scan import QUIET, Progress
from cellrot_infer.types import EVERYTHING, Failure, Scheme, Selection
from cellrot_infer.writers.csv import ENGLISH, CsvStyle


@dataclass(frozen=True, slots=True)
class Request:
    """What to do with each slide."""

    kinds: Sequence[str]
    folder: Path
    scheme: Scheme
    pixel_size_um: float | None = None
    csv_style: CsvStyle = ENGLISH
    selection: Selection = EVERYTHING

    @property
    def settings(self) -> Pairs:
        """What changes the result, for the report."""
        told, chosen = self.pixel_size_um, self.selection
        pairs = [("pixel size", "automatic" if told is None else f"{told:g} um")]
        if box := chosen.region:
            corner, size = (box.x_px, box.y_px), (box.width_px, box.height_px)
            pairs.append(("region", ",".join(map(str, corner + size))))
        if chosen.level:
            pairs.append(("level", str(chosen.level)))
        if chosen.max_cells is not None:
            pairs.append(("most cells of an image", str(chosen.max_cells)))
        return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Task:
    """An image to count: its place in the run, its file, and what its slide knows.

    `base` begins the names of the files that are written on it alone.
    """

    slide: int
    image: int
    path: Path
    base: Path
    scales: Scales


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What is kept of an image: no pixels, so that there is room for the next.

    `files` are the frame's own, by ending; `pictures` as `frame_pictures` gives them.
    """

    file: FileState
    kept: Kept
    files: Mapping[str, bytes]
    pictures: Mapping[int, bytes]


def count_image(
    task: Task, request: Request, classifier: Classifier, progress: Progress = QUIET
) -> Counted | Failure:
    """Return what is found in the image of `task`, or why it could not be analysed."""
    before = size_and_time(task.path)  # before it is read: it may change
    frame = read_or_fail(
        task.path,
        pixel_size_um=request.pixel_size_um,
        fallback_um=classifier.card.pixel_size_um,
        scales=task.scales,
        level=request.selection.level,
    )
    with closing(frame) if isinstance(frame, LargeImage) else nullcontext():
        result = analyze_or_fail(frame, classifier, request.selection, progress)
        if isinstance(result, Failure):
            return result
        keep = partial(kept_of, result, task, request, classifier, before)
        return or_fail(keep, task.path.name, "analyze")


def kept_of(
    result: FrameResult,
    task: Task,
    request: Request,
    classifier: Classifier,
    before: tuple[int, int],
) -> Counted:
    """Return what is kept of `result`; `before` is `size_and_time` of the file."""
    report = compose_report(
        [result], classifier, name=task.path.name, scheme=request.scheme
    )
    return Counted(
        FileState(*before, result.record.sha256),
        Kept(result.record, result.findings),
        frame_files(report, result, request.kinds),
        frame_pictures(result, request.kinds),
    )


def size_and_time(path: Path) -> tuple[int, int]:
    """Return size and time of the file at `path`, (0, 0) where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # reading says why
    return status.st_size, status.st_mtime_ns
