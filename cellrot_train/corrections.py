"""Corrections of reviewed reports as training labels.

A table of corrections names frames by their hash and cells by their box. The cells are
cut from the frames again, exactly as the report showed them, and join a patch set.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from cellrot_infer.errors import DataError, OutputError
from cellrot_infer.files import make_folder
from cellrot_infer.frames import read_frame
from cellrot_infer.images import is_large
from cellrot_infer.largeimage import open_large
from cellrot_infer.metadata import USABLE_UM
from cellrot_infer.patches import cut_patches
from cellrot_infer.recut import Recut
from cellrot_infer.reference import find_reference
from cellrot_infer.review import read_corrections, unquoted
from cellrot_infer.tiles import Grid
from cellrot_infer.types import RGB, Box, Cell, PixelSize
from cellrot_infer.writers.csv import plain
from cellrot_infer.writers.text import file_stem
from cellrot_train.cut import TRAIN, Row, new_set, write_patches
from cellrot_train.data import PatchRecord, load_patch_set

PLACE = "frame_sha256", "x_px", "y_px", "width_px", "height_px", "pixel_size_um"
PLACE_OF_CELLS = "corrected cells"
SUFFIX = "corrections.csv"


@dataclass(frozen=True, slots=True)
class Word:
    """What a reviewer said of one cell; `frame` is its name as the table shows it."""

    frame: str
    sha256: str
    box: Box
    pixel_size_um: float
    label: str
    time: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class CorrectedSet:
    """A patch set with corrected cells in it, and the classes that only these have."""

    folder: Path
    cells: int
    new_classes: tuple[str, ...]


def with_corrections(
    data: Path, labels: Path, frames: Path, out: Path, *, patch_pixel_um: float
) -> CorrectedSet:
    """Return a patch set in the folder `out`: that at `data` and the corrected cells.

    `labels` is a table of corrections, or a folder of them; the frames are looked for
    in the folder `frames`, however deep. A corrected cell trains, unless its slide (the
    folder of its frame) belongs to another split of `data`. The name of the set says
    what went into it, and a set that is there already is taken as it is. Raises
    DataError where a frame is missing or is no longer the one that was reviewed.
    """
    records = load_patch_set(data).records
    words = read_words(labels)
    digest = _digest(records, words, patch_pixel_um)
    folder = out.resolve() / f"corrected-{digest[:12]}"
    if not folder.exists():
        splits = {record.slide: record.split for record in records if record.slide}
        rows: list[Row] = [_row(record) for record in records]
        with new_set(folder, rows) as part:
            for record in records:
                _take_along(record.file, part / record.name)
            for path, said in _found_frames(words, frames).items():
                slide = file_stem(path.parent.name)
                place = splits.get(slide, TRAIN), slide
                rows += _cut(path, said, place, part, patch_pixel_um)
    new = {word.label for word in words} - {record.label for record in records}
    return CorrectedSet(folder, len(words), tuple(sorted(new)))


def read_words(labels: Path) -> list[Word]:
    """Return the last word on each cell in the table or the folder `labels`."""
    tables = sorted(labels.glob(f"*{SUFFIX}")) if labels.is_dir() else [labels]
    words = [word for table in tables for word in _read_table(table)]
    if not words:
        raise DataError(
            f"{labels}: holds no corrections; save them from the HTML report"
        )
    words.sort(key=lambda word: word.time)
    return list({(word.sha256, word.box): word for word in words}.values())


def _read_table(table: Path) -> Iterator[Word]:
    for line, row in read_corrections(table):
        if missing := [name for name in PLACE if name not in row]:
            raise DataError(
                f"{table}: lacks {', '.join(missing)}, which say where the cells are; "
                "save the corrections from the HTML report again"
            )
        try:
            yield _word(row)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: {error}") from None


def _word(row: Mapping[str, str]) -> Word:
    """Return what `row` says; ValueError where it cannot be."""
    box = Box(*(int(_number(row, name)) for name in PLACE[1:5]))
    pixel_size_um = _number(row, "pixel_size_um")
    if min(box.x_px, box.y_px) < 0 or min(box.width_px, box.height_px) < 1:
        raise ValueError(f"{box} is no box of a cell")
    if not USABLE_UM[0] <= pixel_size_um <= USABLE_UM[1]:
        raise ValueError(f"the pixel size is {row['pixel_size_um']} um")
    if not (label := unquoted(row["label"]).strip()):
        raise ValueError("the label is empty")
    sha256 = row["frame_sha256"].lower()
    return Word(row["frame"], sha256, box, pixel_size_um, label, row["time"])


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name].replace(",", "."))  # a German spreadsheet's comma
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is {row[name]!r:.40}, expected a number")
    return value


def _found_frames(words: Sequence[Word], folder: Path) -> dict[Path, list[Word]]:
    """Return the words on each frame, by the path that has its name and its hash."""
    candidates: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            candidates.setdefault(plain(path.name), []).append(path.resolve())
    said: dict[tuple[str, str], list[Word]] = {}
    for word in words:
        said.setdefault((word.frame, word.sha256), []).append(word)
    return {
        _unchanged(candidates.get(name, []), name, sha256, folder): about
        for (name, sha256), about in said.items()
    }


def _unchanged(paths: Sequence[Path], name: str, sha256: str, folder: Path) -> Path:
    if not paths:
        raise DataError(
            f"{folder}: has no frame {name!r}, which the corrections are about; name "
            "the folder of the frames with --frames"
        )
    for path in paths:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return path
    raise DataError(
        f"{paths[0]}: is not the frame that was reviewed (its SHA-256 is another), so "
        "the places of its cells no longer hold; bring back the frame as it was"
    )


def _cut(
    path: Path,
    said: Sequence[Word],
    place: tuple[str, str],
    part: Path,
    patch_pixel_um: float,
) -> Iterator[Row]:
    """Write the patches of the cells that were spoken of; yield their index rows.

    `place` is the split and the slide that they belong to.
    """
    patches = (_of_large if is_large(path) else _of_frame)(path, said, patch_pixel_um)
    for word, patch in zip(said, patches, strict=True):
        corners = "-".join(map(str, astuple(word.box)))
        name = f"{word.sha256[:12]}-{corners}.png"
        write_patches(part / PLACE_OF_CELLS, [name], patch[None])
        path_in_set = f"{PLACE_OF_CELLS}/{name}"
        yield path_in_set, word.label, *place, path.name, word.box.x_px, word.box.y_px


def _of_frame(path: Path, said: Sequence[Word], patch_pixel_um: float) -> Iterator[RGB]:
    """Yield the patch of each cell of a frame."""
    frame = read_frame(path, pixel_size_um=said[0].pixel_size_um)
    height_px, width_px = frame.pixels.shape[:2]
    for word in said:
        cell = _cell(word.box, (width_px, height_px), path)
        scaled = replace(frame, pixel_size=PixelSize(word.pixel_size_um, "option"))
        yield cut_patches(scaled, [cell], patch_pixel_um)[0]


def _of_large(path: Path, said: Sequence[Word], patch_pixel_um: float) -> Iterator[RGB]:
    """Yield the patch of each cell of an image that is read in parts."""
    with closing(open_large(path, pixel_size_um=said[0].pixel_size_um)) as image:
        grid = Grid.over(image.size_px, image.level_pixel_um)
        reference = find_reference(image, grid)
        for word in said:
            cell = _cell(word.box, image.size_px, path)
            scaled = replace(image, pixel_size=PixelSize(word.pixel_size_um, "option"))
            yield from Recut(scaled, [cell], reference, patch_pixel_um)


def _cell(box: Box, size_px: tuple[int, int], path: Path) -> Cell:
    """Return the cell in `box`; DataError where an image of `size_px` has no such."""
    width_px, height_px = size_px
    if box.x_px >= width_px or box.y_px >= height_px:
        raise DataError(f"{path}: {box} is not in the frame; was the table edited?")
    corner = (box.x_px, box.y_px)  # an outline that nothing is read from
    return Cell(box, (corner,), (), 0.0, 0.0, False, 1.0)


def _take_along(file: Path, target: Path) -> None:
    """Put the patch `file` at `target`, without a second copy of it where that can be.

    A set that is whole in itself stays what it is when the first one moves.
    """
    make_folder(target.parent)
    try:
        os.link(file, target)
    except OSError:  # another disk, or one that knows no links
        try:
            shutil.copyfile(file, target)
        except OSError as error:
            raise OutputError(f"{target}: cannot be written ({error})") from None


def _row(record: PatchRecord) -> Row:
    return record.name, record.label, record.split, record.slide, "", "", ""


def _digest(
    records: Sequence[PatchRecord], words: Sequence[Word], patch_pixel_um: float
) -> str:
    files = [(*_row(record), str(record.file.resolve())) for record in records]
    text = repr((files, words, patch_pixel_um))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
