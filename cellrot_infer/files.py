"""Files that appear complete or not at all."""

import contextlib
import os
import uuid
from pathlib import Path

from cellrot_infer.errors import OutputError

_PART = ".cellrot-"


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; raise OutputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: no folder to write into ({error.strerror}); name one with --out"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends that it has; see `write_bytes`."""
    # a file name may hold halves of surrogate pairs, which UTF-8 cannot
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by renaming a complete file; raise OutputError."""
    part = path.with_name(f"{_PART}{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a rename must not outlive its content
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove the files that a process which died had begun in `folder`."""
    for part in folder.glob(f"{_PART}*.part"):
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` outlive a power cut; Windows sees to it by itself."""
    if os.name != "posix":
        return
    entry = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network shares know no such request
            os.fsync(entry)
    finally:
        os.close(entry)
