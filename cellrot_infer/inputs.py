"""What is typed as an input: a path, a pattern such as `*.tif`, or a list of them."""

import codecs
import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cellrot_infer.errors import DataError

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def named_paths(inputs: Iterable[Path], lists: Sequence[Path] = ()) -> list[Path]:
    """Return the paths that `inputs` name, and those in the files `lists`.

    `@FILE` is a list, too. A pattern is what its files are called, for the shells of
    Windows leave it as it is; one without files stays, to be named as missing. Raises
    DataError where a list cannot be read.
    """
    paths: list[Path] = []
    for path in inputs:
        if str(path).startswith("@") and not path.exists():
            paths += _listed(Path(str(path)[1:]))
        else:
            paths += _matching(path)
    for file in lists:
        paths += _listed(file)
    return paths


def _listed(file: Path) -> Iterator[Path]:
    """Yield the paths in a list: one a line; empty lines and `#` say nothing."""
    for line in _text(file).splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield from _matching(Path(entry.strip('"')))  # Windows copies it quoted


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: the list cannot be read ({error.strerror})") from None
    try:
        return content.decode(_MARKS.get(content[:2], "utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError(f"{file}: the list is no UTF-8 text; save it as such") from None


def _matching(path: Path) -> list[Path]:
    if not glob.has_magic(str(path)) or path.exists():
        return [path]
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207  takes whole paths
    return [Path(each) for each in sorted(found)] or [path]
