"""What reads files that others made, and hostile files for it.

A case must end in a result or in a CellrotError. Anything else is a fault: another
exception, a warning, a process that dies or does not come back.
"""

import shutil
import sqlite3
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from hypothesis import strategies as st

from cellrot_infer.audit import extend_trail, read_trail
from cellrot_infer.card import read_model
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import CellrotError
from cellrot_infer.frames import read_frame
from cellrot_infer.journal import NAME as JOURNAL
from cellrot_infer.journal import FileState, Journal, Kept
from cellrot_infer.lineages import DEFAULT, read_scheme
from cellrot_infer.metadata import read_metadata
from cellrot_infer.provenance import provenance
from cellrot_infer.review import COLUMNS, apply_review
from cellrot_infer.types import RGB, PixelSize, Report
from cellrot_infer.writers.csv import cells_csv, differential_csv
from cellrot_infer.writers.json import read_report, report_to_json
from cellrot_infer.writers.summary import summary_csv
from cellrot_train.config import read_config
from cellrot_train.data import load_patch_set
from tests.conftest import tiny_card, tiny_onnx, write_model
from tests.hostile import (
    WORDS,
    Cases,
    changed,
    grafted,
    numbers,
    texts,
    values,
    with_checksums,
)
from tests.infer.images import EVERY_KIND, FIELD, SAMPLES
from tests.infer.slides import slide
from tests.infer.test_card_fuzz import sealed_by_another, use
from tests.infer.test_metadata import SCALED
from tests.infer.test_review import row_of, table

REPORT = slide(12)
CONFIGS = Path(__file__).parent.parent / "models"
_COLUMNS = [
    *(("run", column) for column in ("key", "value")),
    *(("slides", column) for column in ("slide", "stem", "images", "scales", "lines")),
    *(("frames", column) for column in ("slide", "image", "size", "sha256", "result")),
    *(("pictures", column) for column in ("number", "picture")),
]
_UNSTORABLE = sqlite3.Error, OverflowError, UnicodeEncodeError
NAMES = [f"{label}/{number}.png" for label in "ab" for number in range(6)]


@dataclass(frozen=True)
class Target:
    """Something that reads a file: hostile files for it, and how each is read.

    `share` is the part of all cases that it is given.
    """

    cases: Cases
    read: Callable[[Path], object]
    share: float


def survives(target: Target, content: bytes, path: Path) -> bool:
    """Have `target` read `content` at `path`; return whether it was not refused."""
    path.write_bytes(content)
    try:
        target.read(path)
    except CellrotError:
        return False
    return True


def _images() -> Cases:
    """Return damaged images of every kind; those with checksums also put right."""
    samples = (FIELD, *islice(sorted(SAMPLES.rglob("*.webp")), 0, None, 60))
    seeds = [*EVERY_KIND.values(), *SCALED.values(), *map(Path.read_bytes, samples)]
    checked = [seed for seed in seeds if seed.startswith(b"\x89PNG")]
    return changed(seeds) | changed(checked).map(with_checksums)


def _indices() -> Cases:
    plain = "".join(f"{name},{name[0]},\n" for name in NAMES)
    whole = "".join(f"{name},{name[0]},train,s{name[2]}\n" for name in NAMES)
    seeds = [f"path,label,split\n{plain}", f"path,label,split,slide\n{whole}"]
    words = (*WORDS, b"a/1.png", b"train", b"val", b"../a/1.png", b"a\\..\\..\\x.png")
    return changed([seed.encode() for seed in seeds], words)


@cache
def _patch_folder() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="cellrot-fuzz-")
    for name in NAMES:
        (Path(folder.name) / name).parent.mkdir(exist_ok=True)
        (Path(folder.name) / name).touch()
    return folder


def _read_index(path: Path) -> None:
    root = Path(_patch_folder().name)
    (root / "index.csv").write_bytes(path.read_bytes())
    found = load_patch_set(root)
    strangers = [
        r.file for r in found.records if not r.file.resolve().is_relative_to(root)
    ]
    assert not strangers


def _corrections() -> Cases:
    """Return tables with hostile entries, and sound ones that were damaged."""
    sound = row_of(0, "blast", REPORT)
    seeds = [table(sound, row_of(2, "monocyte", REPORT)), table(sound, delimiter=";")]
    times = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-W01")
    entry = st.sampled_from([name for name in COLUMNS if name != "report_sha256"])
    changes = st.dictionaries(entry, texts | st.sampled_from(times), max_size=2)
    hostile = changes.map(lambda entries: table(sound | entries))
    return hostile.map(_utf8) | changed([seed.encode() for seed in seeds])


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _apply(path: Path) -> None:
    folder = path.parent / "review"
    if not folder.exists():
        folder.mkdir()
        (folder / "r.json").write_text(report_to_json(REPORT), encoding="utf-8")
    (folder / "r.audit.jsonl").unlink(missing_ok=True)
    corrected, *_ = apply_review(folder / "r.json", path, folder)
    _write_tables(corrected)
    ours = {"r.json", "r.reviewed.json", "r.audit.jsonl"}
    assert {entry.name for entry in folder.iterdir()} <= ours


def _write_tables(report: Report) -> None:
    for view in (cells_csv, differential_csv, summary_csv):
        view(report)
    report_to_json(report)


def _count_by(path: Path) -> None:
    _write_tables(replace(REPORT, scheme=read_scheme(path)))


def _configs() -> Cases:
    seeds = [path.read_bytes() for path in sorted(CONFIGS.glob("*.toml"))]
    words = b"learning_rate", b"= 1e999", b"= nan", b"= [1]", b"= true", b"= -1"
    return changed([*seeds, b"balance = 0.5\nkeep = 'last'\n"], (*WORDS, *words))


def _cards() -> Cases:
    cells = [np.full((256, 256, 3), shade, np.uint8) for shade in (60, 200)]
    golden = [{"patch": _png(cell), "probabilities": [0.2, 0.3, 0.5]} for cell in cells]
    figures = {"quarter_turn_max_abs": 1e-6, "quarter_turn_embedding": 1e-6}
    certificate = {**figures, "flips": [0.0], "spread": [0.1]}
    metrics = {"val": {"confusion": [[1, 0, 0]] * 3}}
    card = tiny_card(golden=golden, certificate=certificate, metrics=metrics)
    return grafted(card.to_json()).map(sealed_by_another)


def _use_model(path: Path) -> None:
    use(path)
    made = provenance(Classifier.load(path, device="cpu"))
    _write_tables(replace(REPORT, provenance=made))


def _png(pixels: RGB) -> str:
    return b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def _models() -> Cases:
    with TemporaryDirectory() as folder:
        return changed([write_model(Path(folder)).read_bytes(), tiny_onnx()])


def _reports() -> Cases:
    text = report_to_json(REPORT)
    return grafted(text).map(str.encode) | changed([text.encode()])


def _trails() -> Cases:
    entries = st.lists(st.dictionaries(texts, values, max_size=4), max_size=3)
    sealed = entries.map(_sealed_trail)
    return sealed | changed([_sealed_trail([{"after": "blast"}, {"after": "=1"}])])


def _sealed_trail(entries: Sequence[Mapping[str, object]]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        extend_trail(path, [dict(entry) for entry in entries])
        return path.read_bytes()


@cache
def _journal() -> bytes:
    """Return a journal with two slides, of which one is done."""
    with TemporaryDirectory() as folder:
        with Journal(Path(folder)) as journal:
            journal.start(
                (("model", "ab" * 32),), [("a", ["1.png", "2.png"]), ("b", ["3"])]
            )
            journal.provenance(REPORT.provenance)
            journal.keep_scales(0, {(60, 90): PixelSize(0.1, "red cells", 0.02)})
            for image in range(2):
                kept = Kept(REPORT.frames[0], REPORT.findings[:3])
                state = FileState(100, 10**18, "cd" * 32)
                journal.add(0, image, state, kept, {0: b"preview", 1: b"cell"})
            journal.add(1, 0, state, kept, {})
            journal.finish(1, "b,blast,1\n", complete=False)
        return (Path(folder) / JOURNAL).read_bytes()


@st.composite
def _rewritten(draw: st.DrawFn) -> bytes:
    """Return the journal with a hostile value in one of its columns."""
    place = draw(st.sampled_from(_COLUMNS))
    kept = st.builds(lambda text: zlib.compress(text.encode("utf-8", "replace")), texts)
    sound = st.sampled_from(["[]", "{}", "null", "[[[1, 2], {}]]", "1e999"])
    value = draw(
        kept | sound | texts | numbers | values.map(repr) | st.binary(max_size=8)
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / JOURNAL
        path.write_bytes(_journal())
        with (
            closing(sqlite3.connect(path)) as database,
            suppress(*_UNSTORABLE),
            database,
        ):
            table, column = place
            database.execute(f"UPDATE {table} SET {column} = ?", (value,))
        return path.read_bytes()


def _read_journal(path: Path) -> None:
    folder = path.parent / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / JOURNAL)
    with Journal(folder) as journal:
        journal.identity()
        for number, _ in enumerate(journal.plan()):
            journal.scales(number)
            journal.files(number)
            list(journal.kept(number))
            list(journal.pictures(number))
        journal.finished()
        journal.provenance(REPORT.provenance)


@cache
def targets() -> Mapping[str, Target]:
    """Return every target by its name."""
    return {
        "image headers": Target(
            _images(), lambda path: read_metadata(path.read_bytes()), 0.18
        ),
        "images": Target(_images(), read_frame, 0.15),
        "index.csv": Target(_indices(), _read_index, 0.1),
        "corrections.csv": Target(_corrections(), _apply, 0.1),
        "lineages": Target(changed([DEFAULT.read_bytes()]), _count_by, 0.1),
        "training config": Target(_configs(), lambda path: read_config(path, {}), 0.1),
        "model card": Target(_cards(), _use_model, 0.02),
        "model file": Target(_models(), read_model, 0.05),
        "report": Target(
            _reports(), lambda path: _write_tables(read_report(path)), 0.05
        ),
        "journal": Target(changed([_journal()]) | _rewritten(), _read_journal, 0.1),
        "audit trail": Target(_trails(), read_trail, 0.05),
    }
