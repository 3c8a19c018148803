"""Frames into a patch set: the cells that inference would find, cut as it cuts them."""

import csv
import io
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from cellrot_infer.errors import DataError, FrameError, OutputError
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.frames import read_frame
from cellrot_infer.images import IMAGE_SUFFIXES
from cellrot_infer.patches import cut_patches
from cellrot_infer.segment import segment
from cellrot_infer.slides import find_slides
from cellrot_infer.types import Failure, Frame, Patches

PATCH_PIXEL_UM = 0.1
COLUMNS = ("path", "label", "split", "slide", "frame", "x_px", "y_px")
UNLABELLED, TRAIN = "", "train"  # what has no label can only train

Row = tuple[str | int, ...]


@dataclass(frozen=True)
class CutFrame:
    """A frame of which `cells` cells were cut; `warnings` are for the reader's eyes."""

    path: Path
    cells: int
    warnings: tuple[str, ...]


def find_frames(inputs: Iterable[Path]) -> list[Path]:
    """Return the image files named, and those in the folders named, however deep."""
    found: dict[Path, Path] = {}
    for given in inputs:
        inside = sorted(filter(_is_image, given.rglob("*")))
        for path in inside if given.is_dir() else [given]:
            found.setdefault(path.resolve(), path)
    if not found:
        raise DataError("no images in what was named; expected frames or their folders")
    return list(found.values())


def cut_frames(
    frames: Sequence[Path],
    out: Path,
    *,
    pixel_size_um: float | None = None,
    patch_pixel_um: float = PATCH_PIXEL_UM,
) -> Iterator[CutFrame | Failure]:
    """Cut the cells of `frames` into the new patch set `out`; yield after each frame.

    Patches are at `patch_pixel_um`; `pixel_size_um` is that of the frames, their own
    affair where it is None. Cells have no label; their slide is the folder of their
    frame. The set appears when the last frame is done, and not before. Raises
    OutputError where `out` holds something, DataError where there is no cell at all.
    """
    _refuse_filled(out)
    rows: list[Row] = []
    faults: list[str] = []
    with new_set(out, rows) as part:
        for path, (slide, stem) in _places(frames).items():
            try:
                frame = read_frame(
                    path, pixel_size_um=pixel_size_um, fallback_um=patch_pixel_um
                )
            except FrameError as error:
                faults.append(str(error))
                yield Failure(str(path), str(error))
                continue
            found = _cut(frame, part / slide, stem, patch_pixel_um)
            rows += ((f"{slide}/{name}", *rest) for name, *rest in found)
            yield CutFrame(path, len(found), frame.warnings)
        if not rows:
            first = f"; the first that cannot: {faults[0]}" if faults else ""
            count = len(frames)
            readable = f"{count - len(faults)} of {count} frames that can be read"
            raise DataError(f"no cells in {readable}{first}")


@contextmanager
def new_set(out: Path, rows: Sequence[Row]) -> Iterator[Path]:
    """Give a folder to write patches into, which is the patch set `out` at the end.

    `rows` are those of its index, complete by then. Nothing stays after an error.
    """
    part = out.parent / f".{out.name}-{uuid.uuid4().hex[:8]}.part"
    try:
        yield part
        _finish(part, out, rows)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _refuse_filled(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(
            f"{out}: holds something already; name a new folder with --out"
        )


def _places(frames: Sequence[Path]) -> dict[Path, tuple[str, str]]:
    """Return the slide of each frame and how its patches are called, all distinct."""
    folders = list({path.resolve().parent: None for path in frames})
    slides = dict(zip(folders, find_slides(folders), strict=True))
    stems = find_slides(frames)
    return {
        path: (slides[path.resolve().parent].stem, stem.stem)
        for path, stem in zip(frames, stems, strict=True)
    }


def _cut(frame: Frame, folder: Path, stem: str, patch_pixel_um: float) -> list[Row]:
    """Write the cells of `frame` into `folder`; return their rows of the index."""
    cells = segment(frame)
    names = [f"{stem}-{number:03d}.png" for number in range(1, len(cells) + 1)]
    write_patches(folder, names, cut_patches(frame, cells, patch_pixel_um))
    return [
        (name, UNLABELLED, TRAIN, folder.name, frame.name, cell.box.x_px, cell.box.y_px)
        for name, cell in zip(names, cells, strict=True)
    ]


def write_patches(folder: Path, names: Sequence[str], patches: Patches) -> None:
    """Write each of `patches` (N, 256, 256, 3) into `folder` as the PNG it is named."""
    make_folder(folder)
    try:
        for name, patch in zip(names, patches, strict=True):
            _, data = cv2.imencode(".png", cv2.cvtColor(patch, cv2.COLOR_RGB2BGR))
            (folder / name).write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from None


def _finish(part: Path, out: Path, rows: Sequence[Row]) -> None:
    """Give the complete set its name."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_text(part / "index.csv", text.getvalue())
    try:
        if out.exists():
            out.rmdir()  # is empty; Windows renames over nothing
        part.replace(out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
