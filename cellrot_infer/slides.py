"""What the user names on the command line, as slides: which files, called what."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellrot_infer.images import IMAGE_SUFFIXES, SLIDE_SUFFIXES
from cellrot_infer.writers.text import file_stem

SUFFIXES = IMAGE_SUFFIXES | SLIDE_SUFFIXES - {".dcm"}  # DICOM: many files, one slide
OVERLAY_ENDING = ".overlay.png"  # what an earlier run may have left in the folder


@dataclass(frozen=True, slots=True)
class Slide:
    """Images that are counted together.

    `stem` begins the names of the slide's reports and belongs to no other slide of the
    run; the folders in it (`ward 3/0815`) mirror those of the input. `is_folder` tells
    a folder of frames from a single image; `fault` says why a folder has no images.
    """

    name: str
    stem: str
    images: tuple[Path, ...]
    is_folder: bool
    fault: str = ""

    def frame_stems(self) -> list[str]:
        """Return what begins the names of the files of each image."""
        if not self.is_folder:
            return [self.stem] * len(self.images)
        return [f"{self.stem}.{stem}" for stem in distinct_stems(self.images)]


@dataclass(frozen=True, slots=True)
class _Found:
    """A slide without a name; `below` leads to it from the folder that was named."""

    path: Path
    images: tuple[Path, ...]
    is_folder: bool
    below: tuple[str, ...] = ()
    fault: str = ""


def find_slides(
    inputs: Sequence[Path], *, each: bool = False, recursive: bool = False
) -> list[Slide]:
    """Return the slides in `inputs`; what is named twice is one.

    A folder is one slide of the images in it, by name; other files in it are ignored.
    With `each`, every image is a slide. With `recursive`, so is every folder below that
    has images. Whether an image can be read shows when it is read.
    """
    found: dict[str, _Found] = {}
    for path in inputs:
        for one in _search(path, each=each, recursive=recursive):
            found.setdefault(os.path.normcase(os.path.abspath(one.path)), one)  # noqa: PTH100
    slides = list(found.values())
    stems = distinct_stems(
        [one.path for one in slides],
        ["/".join(one.below[:-1]) for one in slides],
        {k for k, one in enumerate(slides) if one.is_folder},
    )
    stems = _apart(stems, slides)
    return [_slide(one, stem) for one, stem in zip(slides, stems, strict=True)]


def _slide(found: _Found, stem: str) -> Slide:
    name, images = _last(found.path), found.images
    fault = "" if images else found.fault or "no images in this folder"
    return Slide(name, stem, images, found.is_folder, fault)


def distinct_stems(
    paths: Sequence[Path], folders: Sequence[str] = (), whole: Collection[int] = ()
) -> list[str]:
    """Return for each path the shortest of its names that no other path has.

    Names in different `folders`, one a path, may be the same. `whole` are the places of
    paths without a suffix, such as folders: a share takes a while to tell of each what
    it is. No two stems are one for Windows or macOS.
    """
    places = [f"{folder}/" if folder else "" for folder in folders] or [""] * len(paths)
    stems: dict[int, str] = {}
    used: set[str] = set()
    level = 0
    while waiting := [k for k in range(len(paths)) if k not in stems]:
        names = {
            k: places[k] + file_stem(_name(paths[k], level, whole=k in whole))
            for k in waiting
        }
        uses = Counter(map(_folded, names.values()))
        fit = {k for k, name in names.items() if uses[_folded(name)] == 1}
        stems |= {k: names[k] for k in fit if _folded(names[k]) not in used}
        used |= uses.keys()
        level += 1
    return [stems[k] for k in range(len(paths))]


def _search(path: Path, *, each: bool, recursive: bool) -> Iterator[_Found]:
    if not path.is_dir() or path.suffix.lower() in SUFFIXES:
        yield _Found(path, (path,), is_folder=False)
        return
    found = list(_tree(path)) if recursive else [next(_tree(path))]
    found = [one for one in found if one.images or one.fault] or found[:1]
    for folder in found:
        yield from _single(folder) if each else [folder]


def _tree(path: Path, below: tuple[str, ...] = ()) -> Iterator[_Found]:
    """Yield the folder at `path` and every folder below it; hidden ones are left out.

    Links to folders are not followed: they may lead in a circle.
    """
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        fault = f"the folder cannot be read ({error.strerror})"
        yield _Found(path, (), True, below, fault)
        return
    images = tuple(path / entry.name for entry in entries if is_frame(entry.name))
    yield _Found(path, images, True, below)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not _is_hidden_or_image(entry.name):
            yield from _tree(path / entry.name, (*below, file_stem(entry.name)))


def _single(found: _Found) -> Iterator[_Found]:
    """Yield a slide an image; a folder without images stays, to be named."""
    if not found.images:
        yield found
    for image in found.images:
        yield _Found(image, (image,), False, (*found.below, ""))


def is_frame(name: str) -> bool:
    """Return whether `name` is that of a frame: hidden and our own files are not."""
    name = name.lower()
    if name.startswith(".") or name.endswith(OVERLAY_ENDING):
        return False
    return os.path.splitext(name)[1] in SUFFIXES  # noqa: PTH122 (of ten thousand names)


def _is_hidden_or_image(name: str) -> bool:
    return name.startswith(".") or is_frame(name)


def _name(path: Path, level: int, *, whole: bool) -> str:
    """Return a name for the reports on `path`: short at level 0, distinct at the end.

    `frame`, `frame.png`, `slide_frame`, `slide_frame.png`, ... and at last a hash.
    """
    above, full = divmod(level, 2)
    last = _last(path) if full or whole else path.stem
    if not above:
        return last
    parts = _absolute(path).parts
    if above >= len(parts) - 1:
        return f"{last}_{_digest(path)[: level + 8]}"
    return "_".join((*parts[-1 - above : -1], last))


def _apart(stems: Sequence[str], slides: Sequence[_Found]) -> list[str]:
    """Return `stems`, with a hash where files of frames would meet another slide's.

    The folder `in` writes `in.a.geojson` for its frame `a`, as an image `in.a` does.
    """
    begun = {
        _folded(stem[:end])
        for stem in stems
        for end, letter in enumerate(stem)
        if letter == "."
    }
    return [
        f"{stem}_{_digest(one.path)[:8]}"
        if one.is_folder and _folded(stem) in begun
        else stem
        for stem, one in zip(stems, slides, strict=True)
    ]


def _absolute(path: Path) -> Path:
    """Return `path` from the root, without `..`; links stay what they are called."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _last(path: Path) -> str:
    """Return what the file or folder at `path` is called, also for `.`."""
    return path.name if path.name not in ("", "..") else _absolute(path).name


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(_absolute(path))).hexdigest()


def _folded(name: str) -> str:
    """Return what is the same for names that Windows or macOS take for one file."""
    return unicodedata.normalize("NFC", name).casefold()
