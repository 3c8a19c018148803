"""The journal of a run: what is finished stays finished, whatever becomes of the rest.

One SQLite file in the output folder. An image is committed once, when its own files are
on the disk; a process, a machine or a disk that gives out costs the images in work and
nothing else. The operating system locks the file while a run has it open, so that no
second run writes into the folder, and a process that died leaves no lock behind. Under
that lock, WAL needs no memory shared between processes: it works on a network share.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cellrot_infer.errors import OutputError
from cellrot_infer.types import Finding, FrameRecord, PixelSize, Provenance
from cellrot_infer.writers.decode import MismatchError, decoder
from cellrot_infer.writers.json import dataclass_fields

NAME = "cellrot.journal"
ROWS = 32  # that are read at a time; a large one is some 100 kB
APPLICATION_ID, FORMAT = 0x63656C72, 1  # "celr"
_TABLES = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE slides (
    slide INTEGER PRIMARY KEY, stem TEXT NOT NULL, images TEXT NOT NULL,
    scales TEXT, lines TEXT);
CREATE TABLE frames (
    slide INTEGER, image INTEGER, size INTEGER, modified_ns INTEGER,
    sha256 TEXT, result BLOB, PRIMARY KEY (slide, image));
CREATE TABLE pictures (
    slide INTEGER, image INTEGER, number INTEGER, picture BLOB,
    PRIMARY KEY (slide, image, number));
"""
Pairs = tuple[tuple[str, str], ...]
Scales = Mapping[tuple[int, ...], PixelSize]
Plan = Sequence[tuple[str, Sequence[str]]]  # stem and names of the images of each slide


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a file is still the one that was counted.

    Clocks and time zones may change the time of a file, so that only the hash decides.
    """

    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What a report needs of a frame."""

    record: FrameRecord
    findings: tuple[Finding, ...]


class Journal:
    """The journal in `folder`, locked until it is closed.

    Slides are numbered in the order of the run, images in the order of their slide.
    Every method that writes has it on the disk when it returns. Raises OutputError
    where another run has the journal, or it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        with self._told():
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the journal free for another run; remove it where nothing was done."""
        try:
            empty = not self.images_done() and not self.finished()
        finally:
            with self._told():
                self._database.close()
        if empty:
            self.path.unlink(missing_ok=True)

    def plan(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return stem and image names of each slide, nothing before a run began."""
        rows = self._rows("SELECT stem, images FROM slides ORDER BY slide")
        return [(stem, self._decoded(tuple[str, ...], text)) for stem, text in rows]

    def identity(self) -> dict[str, str]:
        """Return what the run depends on, as `start` was told."""
        return dict(self._rows("SELECT key, value FROM run WHERE key != ''"))

    def start(self, identity: Pairs, plan: Plan) -> None:
        """Forget what is in the journal and begin a run."""
        with self._transaction():
            for table in ("run", "slides", "frames", "pictures"):
                self._execute(f"DELETE FROM {table}")
            self._many("INSERT INTO run VALUES (?, ?)", identity)
            slides = (
                (number, stem, json.dumps(list(images)))
                for number, (stem, images) in enumerate(plan)
            )
            self._many("INSERT INTO slides VALUES (?, ?, ?, NULL, NULL)", slides)

    def grow(self, slide: int, images: Sequence[str]) -> None:
        """Let `slide` have these images, of which the first are those that it has."""
        with self._transaction():
            values = json.dumps(list(images)), slide
            self._execute("UPDATE slides SET images = ? WHERE slide = ?", values)

    def provenance(self, now: Provenance) -> Provenance:
        """Return where the reports of the run come from: `now`, when it began.

        Raises OutputError where another model or device went to work since.
        """
        for (text,) in self._rows("SELECT value FROM run WHERE key = ''"):
            began: Provenance = self._decoded(Provenance, text)
            if replace(now, created=began.created) == began:
                return began
            raise OutputError(
                f"{self.path}: its run had {began.model} on {began.provider}, now it "
                f"is {now.model} on {now.provider}; go on with the same, or count all "
                "again with --restart"
            )
        with self._transaction():
            self._execute("INSERT INTO run VALUES ('', ?)", (_json(now),))
        return now

    def scales(self, slide: int) -> Scales | None:
        """Return the pixel sizes that `slide` was judged by, None before that."""
        ((text,),) = self._rows("SELECT scales FROM slides WHERE slide = ?", slide)
        if text is None:
            return None
        kind = tuple[tuple[tuple[int, ...], PixelSize], ...]
        return dict(self._decoded(kind, text))

    def keep_scales(self, slide: int, scales: Scales) -> None:
        """Keep the pixel sizes that `slide` was judged by."""
        with self._transaction():
            values = _json(tuple(scales.items())), slide
            self._execute("UPDATE slides SET scales = ? WHERE slide = ?", values)

    def files(self, slide: int) -> dict[int, FileState]:
        """Return the file of each image of `slide` that is finished."""
        rows = self._rows(
            "SELECT image, size, modified_ns, sha256 FROM frames WHERE slide = ?", slide
        )
        return {image: FileState(*state) for image, *state in rows}

    def all_files(self) -> dict[int, dict[int, FileState]]:
        """Return what `files` does, for every slide that has any."""
        found: dict[int, dict[int, FileState]] = {}
        query = "SELECT slide, image, size, modified_ns, sha256 FROM frames"
        for slide, image, *state in self._rows(query):
            found.setdefault(slide, {})[image] = FileState(*state)
        return found

    def add(
        self,
        slide: int,
        image: int,
        file: FileState,
        kept: Kept,
        pictures: Mapping[int, bytes],
    ) -> None:
        """Keep an image that is finished, all of it or nothing."""
        state = file.size, file.modified_ns, file.sha256
        result = zlib.compress(_json(kept).encode("ascii"), 1)
        rows = ((slide, image, number, each) for number, each in pictures.items())
        with self._transaction():
            row = slide, image, *state, result
            self._execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)", row)
            self._many("INSERT INTO pictures VALUES (?, ?, ?, ?)", rows)

    def kept(self, slide: int) -> Iterator[tuple[int, Kept]]:
        """Yield the number and the result of each finished image of `slide`."""
        query = "SELECT image, result FROM frames WHERE slide = ? ORDER BY image"
        for image, result in self._rows(query, slide):
            try:
                text = zlib.decompress(result).decode("ascii")
            except (zlib.error, TypeError, ValueError) as error:
                raise self._damaged(error) from None
            yield image, self._decoded(Kept, text)

    def pictures(self, slide: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (image, number, picture) for `slide`, in this order."""
        yield from self._rows(
            "SELECT image, number, picture FROM pictures WHERE slide = ? "
            "ORDER BY image, number",
            slide,
        )

    def drop(self, slide: int, images: Iterable[int]) -> None:
        """Forget `images`, which are to be counted again, and that `slide` is done."""
        keys = [(slide, image) for image in images]
        with self._transaction():
            self._execute("UPDATE slides SET lines = NULL WHERE slide = ?", (slide,))
            for table in ("frames", "pictures"):
                self._many(
                    f"DELETE FROM {table} WHERE slide = ? AND image = ?",
                    keys,
                )

    def finish(self, slide: int, lines: str, *, complete: bool) -> None:
        """Mark `slide`, whose reports are written, as done; `lines` are what was shown.

        What the reports of a `complete` slide hold is no longer kept here; where images
        failed it is, since they may be repaired.
        """
        with self._transaction():
            values = lines, slide
            self._execute("UPDATE slides SET lines = ? WHERE slide = ?", values)
            if not complete:
                return
            done = (slide,)
            self._execute("UPDATE frames SET result = NULL WHERE slide = ?", done)
            self._execute("DELETE FROM pictures WHERE slide = ?", done)

    def finished(self) -> dict[int, str]:
        """Return the slides that are done, and what was shown of each."""
        query = "SELECT slide, lines FROM slides WHERE lines IS NOT NULL ORDER BY slide"
        return dict(self._rows(query))

    def images_done(self) -> int:
        """Return how many images of the run are finished."""
        ((count,),) = self._rows("SELECT count(*) FROM frames")
        return int(count)

    def _prepare(self) -> None:
        """Take the lock and see that the file is a journal, empty if it is new."""
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # until it is closed
        database.execute("PRAGMA auto_vacuum = FULL")  # what is dropped makes room
        database.execute("BEGIN EXCLUSIVE")
        ((marked,),) = database.execute("PRAGMA application_id")
        ((version,),) = database.execute("PRAGMA user_version")
        ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
        if not tables:
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {FORMAT}")
            for table in filter(str.strip, _TABLES.split(";")):
                database.execute(table)
        elif (marked, version) != (APPLICATION_ID, FORMAT):
            raise OutputError(
                f"{self.path}: no journal of this version of cellrot; move it away, or "
                "name another folder with --out"
            )
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # a commit outlives a power cut

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk has ended it already
                    self._database.execute("ROLLBACK")
                raise

    def _execute(self, statement: str, values: Sequence[object] = ()) -> None:
        self._database.execute(statement, values)

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._database.executemany(statement, rows)

    def _rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with self._told():
            rows = self._database.execute(query, values)
        while some := self._next(rows):  # no `with` stays open if the reader stops
            yield from some

    def _next(self, rows: sqlite3.Cursor) -> list[tuple[Any, ...]]:
        with self._told():
            return rows.fetchmany(ROWS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the errors of SQLite into one line for the user."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._repairable(error) from None
        except UnicodeDecodeError as error:  # of a message that quotes the file
            raise self._damaged(error) from None

    def _repairable(self, error: sqlite3.Error) -> OutputError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return OutputError(
                f"{self.path.parent}: another cellrot-infer writes into this folder; "
                "wait for it, or name another folder with --out"
            )
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return self._damaged(error)
        return OutputError(
            f"{self.path}: cannot be written ({error}); make room, or name another "
            "folder with --out"
        )

    def _damaged(self, reason: object) -> OutputError:
        return OutputError(
            f"{self.path}: damaged ({reason}); delete it and count again"
        )

    def _decoded(self, kind: object, text: str) -> Any:  # noqa: ANN401
        try:
            return decoder(kind)(json.loads(text))
        except (MismatchError, ValueError, TypeError, RecursionError) as error:
            raise self._damaged(error) from None


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, default=dataclass_fields)
