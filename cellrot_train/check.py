"""What is wrong with a patch set, found before anything is trained on it."""

import csv
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from cellrot_infer.errors import FrameError
from cellrot_infer.images import read_file, read_image
from cellrot_infer.types import RGB, Floats
from cellrot_train.data import SPLITS, PatchRecord, PatchSet
from cellrot_train.likeness import THUMB_SIDE_PX, Thumbs, find_pairs, shrink
from cellrot_train.pixels import MAX_MISFIT, MAX_UNREADABLE

TINY_PX = 64  # networks see at least as much
BLANK_CONTRAST = 4.0  # standard deviation of lightness, of 255; a cell has above 15
FEW_CELLS = 20
COLOUR_OUTLIER = 7.0  # robust standard deviations
MIN_COLOURS = 20  # images that it takes to say which colours are usual
COLOURS = ("lightness", "red-green", "yellow-blue", "contrast")


@dataclass(frozen=True)
class Remark:
    """Something worth knowing of the images `names`; `serious` spoils any result."""

    kind: str
    names: tuple[str, ...]
    reason: str
    serious: bool = False


@dataclass(frozen=True)
class Look:
    """What one image file holds; `fault` says why it cannot be used, if so.

    `colour` (4,) is the mean of L, a and b and the contrast of L, inside the disc.
    """

    fault: str = ""
    width_px: int = 0
    height_px: int = 0
    digest: bytes = b""
    thumb: Thumbs | None = None  # (64, 64)
    colour: Floats | None = None


def look_at(records: Sequence[PatchRecord]) -> Iterator[Look]:
    """Yield what each file holds, in order, reading several at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = iter(records)
        while part := list(islice(waiting, 256)):
            yield from pool.map(_look, part)


def check(patch_set: PatchSet, looks: Sequence[Look]) -> list[Remark]:
    """Return what is wrong with `patch_set`; `looks` are those of its records."""
    remarks = [*_files(patch_set, looks), *_copies(patch_set, looks)]
    return [*remarks, *_colours(patch_set, looks), *_classes(patch_set)]


def count_labels(patch_set: PatchSet) -> dict[str, Counter[str]]:
    """Return for each label, empty for none, how many images each split has."""
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in patch_set.class_names
    }
    for record in patch_set.records:
        counts.setdefault(record.label, Counter())[record.split] += 1
    return counts


def to_csv(remarks: Sequence[Remark]) -> str:
    """Return the remarks as CSV, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "serious", "name", "others", "reason"))
    for remark in remarks:
        name, *others = remark.names or ("",)
        serious = "yes" if remark.serious else "no"
        writer.writerow((remark.kind, serious, name, " ".join(others), remark.reason))
    return text.getvalue()


def _look(record: PatchRecord) -> Look:
    try:
        image = read_image(read_file(record.file), record.name)
    except FrameError as error:
        return Look(str(error).removeprefix(f"{record.name}: "))
    height, width = image.shape[:2]
    digest = hashlib.sha256(image.tobytes() + str(image.shape).encode()).digest()
    small = shrink(image)
    grey = bool((small == small[..., :1]).all())
    fault = "a grey image, expected colour" if grey else ""
    return Look(fault, width, height, digest, small[..., 1].copy(), _colour(small))


def _disc() -> NDArray[np.uint8]:
    along = np.arange(THUMB_SIDE_PX) - (THUMB_SIDE_PX - 1) / 2
    inside = np.hypot(along[:, None], along) < THUMB_SIDE_PX / 2
    return inside.astype(np.uint8)


_DISC = _disc()


def _colour(image: RGB) -> Floats:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    mean, deviation = cv2.meanStdDev(lab, mask=_DISC)
    return np.append(mean[:, 0], deviation[0]).astype(np.float32)


def _files(patch_set: PatchSet, looks: Sequence[Look]) -> Iterator[Remark]:
    sides = Counter(min(look.width_px, look.height_px) for look in looks)
    del sides[0]  # unreadable
    side = sides.most_common(1)[0][0] if sides else 0
    unusable = 0
    for record, look in zip(patch_set.records, looks, strict=True):
        for kind, reason in _faults(look, side):
            unusable += kind in ("unreadable", "odd size")
            yield Remark(kind, (record.name,), reason)
    if unusable > MAX_UNREADABLE * len(looks):
        reason = f"{unusable} of {len(looks)} images cannot be used"
        yield Remark("unusable", (), reason, serious=True)
    if 0 < side < TINY_PX:
        yield Remark("tiny", (), f"images of {side} px, expected {TINY_PX} or more")


def _faults(look: Look, side: int) -> Iterator[tuple[str, str]]:
    size = f"{look.width_px} x {look.height_px} px"
    misfit = max(abs(look.width_px - side), abs(look.height_px - side))
    if look.fault:
        yield "unreadable", look.fault
    elif misfit > MAX_MISFIT * side:
        yield "odd size", f"{size}, expected {side} x {side} as the others"
    elif look.colour is not None and look.colour[3] < BLANK_CONTRAST:
        yield "blank", "nothing to see"


def _copies(patch_set: PatchSet, looks: Sequence[Look]) -> Iterator[Remark]:
    """Yield groups of the same image, then pairs of images of the same cell."""
    rows = [row for row, look in enumerate(looks) if not look.fault]
    same: dict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        same[looks[row].digest].append(row)
    for group in same.values():
        if len(group) > 1:
            leaks = len({patch_set.records[row].split for row in group}) > 1
            yield _copy(patch_set, group, "identical", "the same image", leaks)
    shown = [group[0] for group in same.values()]
    thumbs = [look for row in shown if (look := looks[row].thumb) is not None]
    for first, second, likeness in find_pairs(np.array(thumbs, np.uint8)):
        pair = [shown[first], shown[second]]
        reason = f"probably the same cell (likeness {likeness:.3f})"
        yield _copy(patch_set, pair, "near-duplicate", reason, False)


def _copy(
    patch_set: PatchSet, rows: Sequence[int], kind: str, reason: str, serious: bool
) -> Remark:
    records = [patch_set.records[row] for row in rows]
    splits = sorted({record.split for record in records}, key=SPLITS.index)
    labels = sorted({record.label for record in records if record.label})
    if len(splits) > 1:
        reason += f", in {' and '.join(splits)}"
    if len(labels) > 1:
        reason += f", labelled {' and '.join(labels)}"
    return Remark(kind, tuple(record.name for record in records), reason, serious)


def _colours(patch_set: PatchSet, looks: Sequence[Look]) -> Iterator[Remark]:
    """Yield images whose colours are far from those of their class."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, (record, look) in enumerate(zip(patch_set.records, looks, strict=True)):
        if look.colour is not None and not look.fault:
            members[record.label].append(row)
    for rows in members.values():
        if len(rows) < MIN_COLOURS:
            continue
        far = _far([looks[row].colour for row in rows])
        for place in np.flatnonzero(np.abs(far).max(axis=1) > COLOUR_OUTLIER):
            column = int(np.abs(far[place]).argmax())
            side = "above" if far[place, column] > 0 else "below"
            reason = f"{COLOURS[column]} far {side} that of its class"
            name = patch_set.records[rows[place]].name
            yield Remark("colour outlier", (name,), reason)


def _far(colours: Sequence[Floats | None]) -> Floats:
    """Return each column's distance from its median in robust deviations, (N, 4)."""
    values = np.array(colours, dtype=np.float32)
    gaps = values - np.median(values, axis=0)
    deviation = 1.4826 * np.median(np.abs(gaps), axis=0)
    least = np.float32(1)  # a grey level, which nobody sees
    return np.asarray(gaps / np.maximum(deviation, least), np.float32)


def _classes(patch_set: PatchSet) -> Iterator[Remark]:
    counts = count_labels(patch_set)
    for name in patch_set.class_names:
        if (few := counts[name]["train"]) < FEW_CELLS:
            yield Remark("few", (name,), f"{few} training images of {name}")
        for split in ("val", "test"):
            if not counts[name][split]:
                reason = f"{name} has no image in {split}: it cannot be judged there"
                yield Remark("missing", (name,), reason)
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in patch_set.class_names:
        spellings["".join(filter(str.isalnum, name.casefold()))].append(name)
    for names in spellings.values():
        if len(names) > 1:
            yield Remark("spelling", tuple(names), f"{' and '.join(names)}: one class?")
