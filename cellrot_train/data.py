"""Patch sets: which patches there are, what they show, and which part they belong to.

A patch set is a folder of class folders (`<label>/<image>`), or a folder with an
`index.csv` of `path,label,split[,slide]`. An empty label is an unlabelled cell.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path, PureWindowsPath
from random import Random

import numpy as np
from numpy.typing import NDArray

from cellrot_infer.errors import DataError
from cellrot_infer.types import UNDECIDED

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
SPLITS = ("train", "val", "test")
SHARES = {"val": 0.15, "test": 0.15}  # of a set that comes without a split
SPLIT_SEED = 0  # a split that changes with the run's seed would leak between runs


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """One patch: its file, its name within the set, and what is known of it.

    `label` and `slide` are empty where unknown; `split` is train, val or test.
    """

    file: Path
    name: str
    label: str
    split: str
    slide: str = ""


@dataclass(frozen=True)
class PatchSet:
    """Patches in a fixed order, and the order of their classes."""

    root: Path
    records: tuple[PatchRecord, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Return the class index of every patch, -1 where it has no label, (N,)."""
        index = {name: number for number, name in enumerate(self.class_names)}
        values = [index.get(record.label, -1) for record in self.records]
        return np.array(values, dtype=np.int64)

    @cached_property
    def slides(self) -> NDArray[np.str_]:
        """Return the slide of every patch, empty where unknown, (N,)."""
        return np.array([record.slide for record in self.records], dtype=np.str_)

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the patches of `split` (train, val, test or all)."""
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split is {split!r}, expected train, val, test or all")
        rows = enumerate(self.records)
        found = [row for row, record in rows if split in ("all", record.split)]
        return np.array(found, dtype=np.int64)

    def subset(self, indices: Iterable[int]) -> "PatchSet":
        """Return the patches at `indices`, with the same classes."""
        records = tuple(self.records[index] for index in indices)
        return PatchSet(self.root, records, self.class_names)


def load_patch_set(path: Path, class_names: Sequence[str] = ()) -> PatchSet:
    """Return the patch set at `path`: a folder, or the index file in it.

    Classes are in the order of `class_names` where given, else sorted. A set without
    a split gets one: stratified, by slide where slides are known. Raises DataError
    where the set is empty, names files that are missing, or lets a slide leak.
    """
    root, records = _read(Path(path))
    names = _class_names(records, class_names, root)
    if not any(record.split for record in records):
        records = _split(records, root)
    _refuse_leaks(records, root)
    if not class_names:  # given names are those of a model, which has learned them
        _refuse_unlearned(records, root)
    return PatchSet(root, tuple(records), names)


def load_unlabelled(path: Path) -> PatchSet:
    """Return the patches at `path` to train on without labels, whatever it says."""
    root, records = _read(Path(path))
    records = [replace(record, label="", split="train") for record in records]
    return PatchSet(root, tuple(records), ())


def with_unlabelled(patch_set: PatchSet, extra: PatchSet) -> PatchSet:
    """Return `patch_set` with the patches of `extra` that it does not hold yet.

    Raises DataError where they are of a slide that it validates or tests on.
    """
    known = {record.file.resolve() for record in patch_set.records}
    added = (record for record in extra.records if record.file.resolve() not in known)
    records = (*patch_set.records, *added)
    _refuse_leaks(records, extra.root)
    return replace(patch_set, records=records)


def keep_labels(patch_set: PatchSet, per_class: int, seed: int) -> PatchSet:
    """Return the set with `per_class` labels a class in train, the others removed."""
    order = Random(seed).sample(range(len(patch_set)), len(patch_set))
    kept: Counter[str] = Counter()
    records = list(patch_set.records)
    for index in order:
        record = records[index]
        if record.split == "train" and record.label:
            kept[record.label] += 1
            if kept[record.label] > per_class:
                records[index] = replace(record, label="")
    return replace(patch_set, records=tuple(records))


def _read(path: Path) -> tuple[Path, list[PatchRecord]]:
    """Return the folder of a patch set and what it holds."""
    root = path.parent if path.suffix == ".csv" else path
    index = path if path.suffix == ".csv" else path / "index.csv"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of patches")
    records = _read_index(index) if index.exists() else _read_folders(root)
    if not records:
        raise DataError(
            f"{root}: no images; expected <label>/<image> or an index.csv of path,label"
        )
    return root, records


def _read_folders(root: Path) -> list[PatchRecord]:
    folders = sorted(
        entry for entry in root.iterdir() if _is_seen(entry) and entry.is_dir()
    )
    records = [PatchRecord(file, file.name, "", "") for file in _images(root)]
    for folder in folders:
        images = _images(folder)
        if not images:
            raise DataError(
                f"{folder}: holds no images; expected {root.name}/<label>/<image>, so "
                "add some or remove the folder"
            )
        for file in images:
            name = f"{folder.name}/{file.name}"
            records.append(PatchRecord(file, name, folder.name, ""))
    return records


def _is_seen(entry: Path) -> bool:
    return not entry.name.startswith((".", "__"))


def _images(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if _is_seen(file) and file.is_file())
    return sorted(file for file in files if file.suffix.lower() in SUFFIXES)


def _read_index(index: Path) -> list[PatchRecord]:
    try:
        with index.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{index}: no column {' and '.join(sorted(missing))}")
            rows = list(reader)
    except OSError as error:
        raise DataError(f"{index}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{index}: no valid CSV in UTF-8 ({error})") from None
    records = [_record(row, index, line) for line, row in enumerate(rows, start=2)]
    _refuse_missing(records, index)
    return records


def _record(row: dict[str, str | None], index: Path, line: int) -> PatchRecord:
    name = (row["path"] or "").strip().replace("\\", "/")
    split = (row.get("split") or "").strip()
    if not name:
        raise DataError(f"{index}, line {line}: the path is empty")
    if not _stays_inside(name):
        raise DataError(
            f"{index}, line {line}: {name!r:.200} leads out of the folder; expected a "
            "path inside it"
        )
    if split and split not in SPLITS:
        raise DataError(
            f"{index}, line {line}: split is {split!r}, expected train, val or test"
        )
    label, slide = (row["label"] or "").strip(), (row.get("slide") or "").strip()
    return PatchRecord(index.parent / name, name, label, split, slide)


def _stays_inside(name: str) -> bool:
    """Return whether `name` names a file below its folder, on Windows too."""
    path = PureWindowsPath(name)  # takes both slashes, drives and shares
    return not path.anchor and ".." not in path.parts


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _refuse_missing(records: Sequence[PatchRecord], index: Path) -> None:
    missing = [record.name for record in records if not _is_file(record.file)]
    if missing:
        raise DataError(
            f"{index}: {len(missing)} of {len(records)} files are missing, "
            f"the first is {missing[0]:.200}"
        )
    twice = [
        name for name, count in Counter(r.name for r in records).items() if count > 1
    ]
    if twice:
        raise DataError(f"{index}: {twice[0]} is listed more than once")
    unsplit = [record.name for record in records if not record.split]
    if 0 < len(unsplit) < len(records):
        raise DataError(
            f"{index}: {len(unsplit)} of {len(records)} rows have no split, the first "
            f"is {unsplit[0]}; fill all of them or none"
        )


def _class_names(
    records: Sequence[PatchRecord], wanted: Sequence[str], root: Path
) -> tuple[str, ...]:
    found = {record.label for record in records if record.label}
    if not wanted:
        if taken := sorted(name for name in found if name.casefold() in UNDECIDED):
            raise DataError(
                f"{root}: has the class {taken[0]!r}, which is what reports call cells "
                "of no class; give it another name, or name its folder with "
                "--unlabelled instead"
            )
        return tuple(sorted(found))
    if unknown := sorted(found - set(wanted)):
        raise DataError(
            f"{root}: has the label {unknown[0]!r}, expected one of {', '.join(wanted)}"
        )
    return tuple(wanted)


def _split(records: Sequence[PatchRecord], root: Path) -> list[PatchRecord]:
    """Return the records with a split: whole slides where known, else by class."""
    slides = all(record.slide for record in records)
    groups: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[record.slide if slides else record.label].append(index)
    parts = _split_slides(groups, root) if slides else _split_classes(groups, root)
    return [
        replace(record, split=parts.get(index, "train"))
        for index, record in enumerate(records)
    ]


def _split_classes(groups: dict[str, list[int]], root: Path) -> dict[int, str]:
    parts: dict[int, str] = {}
    for label, members in sorted(groups.items()):
        if not label:
            continue  # unlabelled patches can only train
        if len(members) < len(SPLITS):
            images = "1 image" if len(members) == 1 else f"{len(members)} images"
            raise DataError(
                f"{root}: class {label!r} has {images}, expected at least "
                f"{len(SPLITS)} (one each to train, validate and test); add images or "
                "remove the class"
            )
        shuffled = iter(Random(SPLIT_SEED).sample(members, len(members)))
        for split, share in SHARES.items():
            size = max(1, round(share * len(members)))
            parts.update((index, split) for index in islice(shuffled, size))
    return parts


def _split_slides(groups: dict[str, list[int]], root: Path) -> dict[int, str]:
    if len(groups) < len(SPLITS):
        raise DataError(
            f"{root}: {len(groups)} slides cannot be split in train, val and test; add "
            "slides, or a split column to index.csv"
        )
    slides = sorted(groups)
    Random(SPLIT_SEED).shuffle(slides)
    total = sum(map(len, groups.values()))
    parts: dict[int, str] = {}
    for split, share in SHARES.items():
        size = 0
        while size < share * total and len(slides) > 1 + (split == "val"):
            members = groups[slides.pop()]
            parts.update((index, split) for index in members)
            size += len(members)
    return parts


def _refuse_leaks(records: Sequence[PatchRecord], root: Path) -> None:
    """Raise DataError where a slide is in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.slide:
            splits[record.slide].add(record.split)
    if leaking := sorted(slide for slide, parts in splits.items() if len(parts) > 1):
        raise DataError(
            f"{root}: slide {leaking[0]!r} is in more than one split ("
            f"{', '.join(sorted(splits[leaking[0]]))}), as are {len(leaking)} in "
            "all; a slide belongs to one split"
        )


def _refuse_unlearned(records: Sequence[PatchRecord], root: Path) -> None:
    """Raise DataError where a class has no training patch."""
    seen = {record.label for record in records if record.split == "train"}
    for record in records:
        if record.label and record.label not in seen:
            raise DataError(
                f"{root}: class {record.label!r} is in {record.split} and not in "
                "train; add training images of it, or remove it"
            )


def fingerprint(names_and_digests: Iterable[tuple[PatchRecord, str]]) -> str:
    """Return the SHA-256 of what a patch set says: names, labels, splits, contents."""
    digest = hashlib.sha256()
    for record, content in names_and_digests:
        line = (record.name, record.label, record.split, record.slide, content)
        digest.update("\0".join(line).encode() + b"\n")
    return digest.hexdigest()
