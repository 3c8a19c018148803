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


@dataclass(frozen=True, slots=True)
class Slide:
    """Images that are counted together; `stem` begins the names of its reports."""

    name: str
    stem: str
    images: tuple[Path, ...]


def find_slides(inputs: Sequence[Path]) -> list[Slide]:
    """Return a slide an input, each with a stem of its own; the same input once.

    A folder is one slide of the images in it, by name. Whether a file can be read shows
    when it is read.
    """
    paths = list({path.resolve(): path for path in inputs}.values())
    stems = _distinct_stems(paths)
    return [
        Slide(path.resolve().name, stem, _images(path))
        for path, stem in zip(paths, stems, strict=True)
    ]


def _images(path: Path) -> tuple[Path, ...]:
    if not path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return (path,)
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return (path,)  # reading it will say why
    return tuple(
        entry
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
    )


def _distinct_stems(paths: Sequence[Path]) -> list[str]:
    """Return for each path the shortest of its names that no other path has."""
    candidates = [_names(path.resolve()) for path in paths]
    uses = Counter(_folded(name) for names in candidates for name in set(names))
    chosen = (next(n for n in ns if uses[_folded(n)] == 1) for ns in candidates)
    return [file_stem(name) for name in chosen]


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
