"""The pixels of a patch set: decoded once, kept as one file that memory can map.

Decoding tens of thousands of small images takes a minute; mapping an array takes
none, and an array larger than the memory is read where it is needed.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from cv2.typing import MatLike
from torch import Tensor

from cellrot_infer.errors import DataError, FrameError, OutputError
from cellrot_infer.files import write_text
from cellrot_infer.images import read_image
from cellrot_infer.metadata import read_metadata
from cellrot_infer.types import PATCH_SIDE_PX, Patches
from cellrot_train.data import PatchRecord, PatchSet, fingerprint

MAX_UNREADABLE = 0.01  # more than one image in a hundred is no accident
MAX_MISFIT = 0.05  # of the side: a larger difference is another crop or scale
_CACHE_VERSION = 2

T = TypeVar("T")
Shape = tuple[int, int, int, int]
Watch = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Pixels:
    """The readable patches of a set and their pixels, row by row.

    `images` (N, 3, S, S) uint8, RGB; `source_side_px` is the side of the files;
    `unreadable` holds name and reason of what was left out; `sha256` is the
    fingerprint of the set.
    """

    patch_set: PatchSet
    images: Tensor
    source_side_px: int
    unreadable: tuple[tuple[str, str], ...]
    sha256: str

    def on(self, device: torch.device, memory_gb: float = 0) -> "Pixels":
        """Return the same with the images on `device`, where they fit.

        `memory_gb` limits what they may take; 0 is half of what is free. On a CPU they
        stay in their file: memory keeps what is used of it.
        """
        if device.type == "cpu":
            return self
        free = torch.cuda.mem_get_info(device)[0] / 2
        if self.images.nbytes > (memory_gb * 1e9 or free):
            return self
        return replace(self, images=self.images.to(device))

    def pixel_size_um(self, source_um: float) -> float:
        """Return micrometres per pixel of the 256 px patch, given that of the files."""
        return source_um * self.source_side_px / PATCH_SIDE_PX


def load_pixels(
    patch_set: PatchSet,
    side_px: int,
    cache: Path | None = None,
    watch: Watch | None = None,
) -> Pixels:
    """Return the pixels of `patch_set` at `side_px`, decoded at the first call.

    Images are averaged down from their own side as the exported graph does it.
    Unreadable images are left out and named; more than 1 % raise DataError. `watch`
    hears how many of how many are decoded.
    """
    folder = default_cache() if cache is None else cache
    stem = folder / f"{_key(patch_set)}-{side_px}px"
    array, notes = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (array.exists() and notes.exists()):
        _decode_all(patch_set, side_px, array, notes, watch)
    found = json.loads(notes.read_text(encoding="utf-8"))
    bad = {int(row): reason for row, reason in found["unreadable"].items()}
    _refuse_many(patch_set, bad)
    rows = [row for row in range(len(patch_set)) if row not in bad]
    images = torch.from_numpy(np.load(array, mmap_mode="c"))  # private: never written
    kept = patch_set.subset(rows)
    digests = (found["digests"][row] for row in rows)
    return Pixels(
        kept,
        images[torch.tensor(rows)] if bad else images,
        found["side_px"],
        tuple((patch_set.records[row].name, reason) for row, reason in bad.items()),
        fingerprint(zip(kept.records, digests, strict=True)),
    )


def load_patches(
    patch_set: PatchSet,
    which: str | Sequence[int],
    side_px: int,
    cache: Path | None = None,
) -> Tensor:
    """Return the patches of a split, or at indices, uint8 (N, 3, S, S), in memory.

    Raises DataError where an image is unreadable: rows must stay with their labels.
    Use `load_pixels` to leave such images out.
    """
    pixels = load_pixels(patch_set, side_px, cache)
    if pixels.unreadable:
        name, reason = pixels.unreadable[0]
        raise DataError(f"{patch_set.root}: {name} cannot be used: {reason}")
    rows = patch_set.indices(which) if isinstance(which, str) else which
    return pixels.images[torch.as_tensor(rows, dtype=torch.long)]


def decode_patches(patch_set: PatchSet, rows: Sequence[int], side_px: int) -> Patches:
    """Return the patches at `rows`, (N, S, S, 3), decoded anew and not kept on disk.

    Raises DataError where an image is unreadable.
    """
    records, side = [patch_set.records[row] for row in rows], common_side_px(patch_set)
    images = np.empty((len(records), side_px, side_px, 3), np.uint8)
    decoded = _decode(records, side, side_px)
    for image, record, found in zip(images, records, decoded, strict=True):
        if found.image is None:
            raise DataError(
                f"{patch_set.root}: {record.name} cannot be used: {found.fault}"
            )
        image[:] = found.image
    return images


def default_cache() -> Path:
    """Return the folder for decoded patches: CELLROT_CACHE, or the system's own."""
    if chosen := os.environ.get("CELLROT_CACHE"):
        return Path(chosen)
    home = Path.home()
    places = {
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"),
        "darwin": home / "Library" / "Caches",
    }
    linux = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return places.get(sys.platform, linux) / "cellrot"


class _Decoded(NamedTuple):
    image: MatLike | None  # (S, S, 3), RGB
    digest: str
    fault: str = ""


def _key(patch_set: PatchSet) -> str:
    """Return a name for the files as they are now: changed files get another name."""
    digest = hashlib.sha256(str(_CACHE_VERSION).encode())
    for record in patch_set.records:
        try:
            stat = record.file.stat()
        except OSError as error:
            raise DataError(f"{record.file}: {error.strerror}") from None
        line = f"{record.file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()[:24]


def _refuse_many(patch_set: PatchSet, bad: dict[int, str]) -> None:
    if len(bad) > MAX_UNREADABLE * len(patch_set):
        row, reason = next(iter(bad.items()))
        raise DataError(
            f"{patch_set.root}: {len(bad)} of {len(patch_set)} images cannot be used, "
            f"the first is {patch_set.records[row].name}: {reason}"
        )


def _decode_all(
    patch_set: PatchSet, side_px: int, array: Path, notes: Path, watch: Watch | None
) -> None:
    """Write the decoded patches to `array` and what was found on the way to `notes`."""
    side = common_side_px(patch_set)
    part = array.with_name(f"{array.stem}.{os.getpid()}.part")
    try:
        array.parent.mkdir(parents=True, exist_ok=True)
        decoded = _decode(patch_set.records, side, side_px)
        watched = _watched(decoded, len(patch_set), watch)
        found = _fill(part, watched, (len(patch_set), 3, side_px, side_px))
        part.replace(array)
    except OSError as error:
        raise OutputError(
            f"{array.parent}: decoded patches cannot be kept ({error.strerror}); "
            "set CELLROT_CACHE to a folder with room"
        ) from None
    finally:
        with suppress(OSError):
            part.unlink()
    write_text(notes, json.dumps({"side_px": side, **found}))


def _fill(array: Path, patches: Iterable[_Decoded], shape: Shape) -> dict[str, Any]:
    """Write the pixels of `patches` to `array`; return digests and what is unreadable.

    The map closes on return: Windows cannot rename a file that is mapped.
    """
    images = np.lib.format.open_memmap(array, "w+", np.uint8, shape)
    digests, unreadable = [], {}
    for row, decoded in enumerate(patches):
        digests.append(decoded.digest)
        if decoded.image is None:
            unreadable[row] = decoded.fault
        else:
            images[row] = decoded.image.transpose(2, 0, 1)
    images.flush()
    return {"digests": digests, "unreadable": unreadable}


def _watched(items: Iterable[T], total: int, watch: Watch | None) -> Iterator[T]:
    for done, item in enumerate(items, start=1):
        yield item
        if watch:
            watch(done, total)


def _decode(
    records: Sequence[PatchRecord], side: int, side_px: int
) -> Iterator[_Decoded]:
    """Yield the decoded records in order; OpenCV works outside Python's lock."""

    def one(record: PatchRecord) -> _Decoded:
        return _decode_one(record.file, side, side_px)

    with ThreadPoolExecutor() as pool:
        waiting = iter(records)
        while chunk := list(islice(waiting, 1024)):  # keeps few images in memory
            yield from pool.map(one, chunk)


def _decode_one(file: Path, side: int, side_px: int) -> _Decoded:
    try:
        content = file.read_bytes()
    except OSError as error:
        return _Decoded(None, "", f"cannot be read ({error.strerror})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = _cell(content, file.name, side)
    except FrameError as error:
        return _Decoded(None, digest, str(error).removeprefix(f"{file.name}: "))
    size = (side_px, side_px)
    return _Decoded(cv2.resize(image, size, interpolation=cv2.INTER_AREA), digest)


def _cell(content: bytes, name: str, side: int) -> MatLike:
    """Return the square of `side` in the middle of an image, RGB.

    Its header is asked first: a small file may claim any number of pixels. Raises
    FrameError where the image is damaged, grey or of another size.
    """
    metadata = read_metadata(content)
    width, height = metadata.width_px, metadata.height_px
    if max(abs(height - side), abs(width - side)) > MAX_MISFIT * side:
        raise FrameError(
            f"{width} x {height} px, expected {side} x {side} as the others"
        )
    image = read_image(content, name)
    if not _has_colour(image):
        raise FrameError("a grey image, expected colour")
    return _fit(image, side)


def _has_colour(image: MatLike) -> bool:
    red, green, blue = cv2.split(image)
    return bool(
        cv2.norm(blue, green, cv2.NORM_INF) or cv2.norm(red, green, cv2.NORM_INF)
    )


def _fit(image: MatLike, side: int) -> MatLike:
    """Return the central square of `side`, mirrored outwards where too small."""
    height, width = image.shape[:2]
    rows, columns = max(0, side - height), max(0, side - width)
    if rows or columns:
        top, left = rows // 2, columns // 2
        margins = (top, rows - top, left, columns - left)
        image = cv2.copyMakeBorder(image, *margins, cv2.BORDER_REFLECT_101)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def common_side_px(patch_set: PatchSet) -> int:
    """Return the side that most of the first images have; the shorter side counts."""
    sides: Counter[int] = Counter()
    for record in patch_set.records[:50]:
        with suppress(OSError, FrameError):  # named later, when all are decoded
            metadata = read_metadata(record.file.read_bytes())
            sides[min(metadata.width_px, metadata.height_px)] += 1
    if not sides:
        raise DataError(f"{patch_set.root}: none of the first images can be read")
    return sides.most_common(1)[0][0]
