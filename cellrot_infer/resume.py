"""What is left to do of a run: all of it, or what its journal does not have yet."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from cellrot_infer.card import read_model
from cellrot_infer.counting import Request
from cellrot_infer.errors import FrameError, OutputError
from cellrot_infer.images import file_sha256
from cellrot_infer.journal import FileState, Journal, Plan
from cellrot_infer.models import find_model
from cellrot_infer.outputs import frame_endings, slide_endings
from cellrot_infer.provenance import Pairs, versions
from cellrot_infer.slides import Slide

Left = Mapping[int, set[int]]  # slide -> its images to count, for slides to report on
Files = Mapping[int, Mapping[int, FileState]]  # slide -> its images that are counted
EITHER = "ask for the same, or count all again with --restart"


def take_up(
    journal: Journal,
    request: Request,
    slides: Sequence[Slide],
    model: str,
    *,
    resume: bool | None = None,
) -> Left:
    """Begin a run in `journal`, or go on with the one in it; return what is left.

    `resume` True goes on where a run is there, False always begins anew, and None
    begins anew unless that would throw away what a run that stopped has counted.
    Raises OutputError where it would, or where the run that is there is another one.
    """
    identity = _identity(request, model)
    plan = [(one.stem, tuple(path.name for path in one.images)) for one in slides]
    there = journal.plan()
    if resume and there:
        _check_identity(journal, dict(identity))
        _check_plan(journal.path, there, plan)
        counted = journal.all_files()
        _check_files(journal.path, slides, counted)
        return _left(journal, request, slides, counted)
    if resume is None and journal.images_done() and not _is_finished(journal):
        total = sum(len(images) for _, images in there)
        raise OutputError(
            f"{journal.path.parent}: a run stopped here after {journal.images_done()} "
            f"of {total} images; go on with it with --resume, or count all again with "
            "--restart"
        )
    journal.start(identity, plan)
    return {number: set(range(len(each.images))) for number, each in enumerate(slides)}


def _identity(request: Request, model: str) -> Pairs:
    style = request.csv_style
    content, _ = read_model(find_model(model))
    return (
        ("model", hashlib.sha256(content).hexdigest()),
        *request.settings,
        ("reports", ",".join(request.kinds)),
        ("csv", f"{style.delimiter} {style.decimal}"),
        ("lineages", hashlib.sha256(repr(request.scheme).encode()).hexdigest()),
        *versions(),
    )


def _is_finished(journal: Journal) -> bool:
    return len(journal.finished()) == len(journal.plan())


def _check_identity(journal: Journal, now: dict[str, str]) -> None:
    began = journal.identity()
    for key in now | began:
        if now.get(key) != began.get(key):
            raise OutputError(
                f"{journal.path}: its run had {key} {began.get(key, 'none'):.40}, "
                f"now it is {now.get(key, 'none'):.40}; {EITHER}"
            )


def _check_plan(journal: Path, began: Plan, now: Plan) -> None:
    """Raise OutputError where the inputs are not those that the run began with."""
    if began == now:
        return
    there, here = (
        {(stem, name): None for stem, names in plan for name in names}
        for plan in (began, now)
    )
    if strange := next((key for key in here if key not in there), None):
        problem = f"{strange[1]} was no input of its run"
    elif missing := next((key for key in there if key not in here), None):
        problem = f"its run had the input {missing[1]}, too"
    else:
        problem = "its run had the inputs in another order"
    raise OutputError(f"{journal}: {problem}; {EITHER}")


def _check_files(journal: Path, slides: Sequence[Slide], counted: Files) -> None:
    """Raise OutputError where an image is not the one that was counted."""
    for number, slide in enumerate(slides):
        images = counted.get(number, {})
        if images.keys() - range(len(slide.images)):
            raise OutputError(
                f"{journal}: damaged (images of {slide.name} that it has not); delete "
                "it and count again"
            )
        for image, state in images.items():
            if not _is_same(slide.images[image], state):
                raise OutputError(
                    f"{journal}: {slide.images[image]} is not the file that was "
                    "counted; put it back, or count all again with --restart"
                )


def _is_same(path: Path, counted: FileState) -> bool:
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (counted.size, counted.modified_ns):
            return True
        return file_sha256(path) == counted.sha256
    except (OSError, FrameError):
        return False


def _left(
    journal: Journal, request: Request, slides: Sequence[Slide], counted: Files
) -> Left:
    """Return what the journal does not have, or has without the files that go with it.

    Images that failed are tried again.
    """
    finished = journal.finished()
    folder, endings = request.folder, slide_endings(request.kinds)
    left: dict[int, set[int]] = {}
    for number, slide in enumerate(slides):
        images, done = set(range(len(slide.images))), set(counted.get(number, ()))
        complete = number in finished and done == images != set()
        lost = _lost(request, slide, done)
        if complete and not lost and _are_there(folder, slide.stem, endings):
            continue
        if complete:
            lost = done  # what was counted is in the reports, and no longer in here
        if lost or number in finished:
            journal.drop(number, lost)
        left[number] = images - (done - lost)
    _names.cache_clear()
    return left


def _lost(request: Request, slide: Slide, done: set[int]) -> set[int]:
    """Return which of the images that are `done` lack a file of their own."""
    endings = frame_endings(request.kinds)
    if not done or not endings:
        return set()
    folder, stems = request.folder, slide.frame_stems()
    return {k for k in done if not _are_there(folder, stems[k], endings)}


def _are_there(folder: Path, stem: str, endings: Sequence[str]) -> bool:
    """Return whether the files that `stem` begins are in `folder`, one an ending."""
    below, _, name = stem.rpartition("/")
    names = _names(folder, below)
    return all(f"{name}.{ending}" in names for ending in endings)


@cache
def _names(folder: Path, below: str) -> frozenset[str]:
    """Return the names in a folder, read once: a share takes a while for each."""
    place = folder / below
    return frozenset(os.listdir(place) if place.is_dir() else ())  # noqa: PTH208
