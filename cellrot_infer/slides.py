"""What the user names on the command line, as slides: which files, called what."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellrot_infer.images import IMAGE_SUFFIXES
from cellrot_infer.writers.text import file_stem

OVERLAY_ENDING = ".overlay.png"  # what an earlier run may have left in the folder


@dataclass(frozen=True, slots=True)
class Slide:
    """Images that are counted together.

    `stem` begins the names of the slide's reports and belongs to no other slide of the
    run; `is_folder` tells a folder of frames from a single image.
    """

    name: str
    stem: str
    images: tuple[Path, ...]
    is_folder: bool


def find_slides(inputs: Sequence[Path]) -> list[Slide]:
    """Return a slide an input; an input that is named twice is one.

    A folder is one slide of the images in it, by name; other files in it are ignored.
    Whether an image can be read shows when it is read.
    """
    paths = list({path.resolve(): path for path in inputs}.values())
    return [
        _slide(path, stem)
        for path, stem in zip(paths, distinct_stems(paths), strict=True)
    ]


def distinct_stems(paths: Sequence[Path]) -> list[str]:
    """Return for each path the shortest of its names that no other path has."""
    candidates = [_names(path.resolve()) for path in paths]
    uses = Counter(_folded(name) for names in candidates for name in set(names))
    chosen = (next(n for n in ns if uses[_folded(n)] == 1) for ns in candidates)
    return [file_stem(name) for name in chosen]


def _slide(path: Path, stem: str) -> Slide:
    if not path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return Slide(path.name, stem, (path,), is_folder=False)
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return Slide(path.name, stem, (path,), is_folder=False)  # reading says why
    images = tuple(filter(_is_frame, entries))
    return Slide(path.resolve().name, stem, images, is_folder=True)


def _is_frame(path: Path) -> bool:
    """Return whether `path` is named like a frame: hidden and our own files are not."""
    name = path.name.lower()
    if name.startswith(".") or name.endswith(OVERLAY_ENDING):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES


def _names(path: Path) -> list[str]:
    """Return names for the reports on `path`, from short to certainly distinct."""
    bare, full = (path.name if path.is_dir() else path.stem), path.name
    names = [bare, full]
    for parent in path.parents:
        bare, full = f"{parent.name}_{bare}", f"{parent.name}_{full}"
        names += [bare, full]
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    return [*dict.fromkeys(names), f"{path.stem}_{digest[:8]}"]


def _folded(name: str) -> str:
    """Return what is the same for names that Windows or macOS take for one file."""
    return unicodedata.normalize("NFC", name).casefold()
