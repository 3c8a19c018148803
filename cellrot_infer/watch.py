"""A folder that a camera writes into: each frame is counted when it is complete.

The folder is looked at again and again, for network shares tell of no changes. Times
are those of a clock that nobody sets: one that is changed loses and doubles nothing.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Self

from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Counted, Request, Task, count_image
from cellrot_infer.errors import DataError
from cellrot_infer.frames import SCALE_SAMPLE, Scales, judge_scales
from cellrot_infer.journal import Journal, Kept
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run, report_of
from cellrot_infer.slides import Slide, find_slides, is_frame
from cellrot_infer.types import Failure, Provenance, Report

SETTLE_S = 2.0  # how long size and time of a file stay the same once it is complete
RETRY_S = 10.0  # a camera may keep a file to itself that looks complete
POLL_S = 0.5

Stamp = tuple[int, int]  # size in bytes and time of change in ns


@dataclass(slots=True)
class Arrivals:
    """The images of a folder, given out when they are complete.

    That is when size and time stayed the same for `settle_s`. What was `taken` is given
    out once more only if it is written anew.
    """

    folder: Path
    settle_s: float = SETTLE_S
    clock: Callable[[], float] = time.monotonic
    taken: dict[str, Stamp] = field(default_factory=dict)
    _since: dict[str, tuple[Stamp, float]] = field(default_factory=dict)

    def complete(self) -> list[str]:
        """Look at the folder; return the names of what is complete, oldest first."""
        now = self.clock()
        try:
            stamps = dict(_stamps(self.folder))
        except OSError:
            return []  # a share that is away for a while
        before = self._since
        self._since = {
            name: before[name]
            if name in before and before[name][0] == stamp
            else (stamp, now)
            for name, stamp in stamps.items()
        }
        settled = [
            (since, name)
            for name, (stamp, since) in self._since.items()
            if self.taken.get(name) != stamp and now - since >= self.settle_s
        ]
        return [name for _, name in sorted(settled)]

    def put_off(self, name: str) -> None:
        """Give out `name` again in a while, changed or not."""
        stamp, _ = self._since[name]
        self._since[name] = stamp, self.clock() + RETRY_S

    def waiting(self) -> list[str]:
        """Return the names of what was there at the last look and is not taken."""
        entries = self._since.items()
        return sorted(n for n, (stamp, _) in entries if self.taken.get(n) != stamp)

    def there(self) -> Set[str]:
        """Return the names of what was there at the last look."""
        return self._since.keys()

    def take(self, name: str) -> bool:
        """Mark `name` as taken; return False where it changed since it was complete."""
        stamp, _ = self._since[name]
        try:
            status = (self.folder / name).stat()
        except OSError:
            return False
        if (status.st_size, status.st_mtime_ns) != stamp:
            return False
        self.taken[name] = stamp
        return True


@dataclass(slots=True)
class Watch:
    """The count of a folder that grows: one slide, whose frames come one by one.

    What a frame holds is in the journal before the next one is looked at. A frame is
    counted once, whatever it is renamed to; one that is written anew counts anew.
    """

    run: Run
    arrivals: Arrivals
    origin: Provenance
    _kept: dict[int, Kept] = field(default_factory=dict)
    _failed: dict[str, Failure] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        arrivals: Arrivals,
        classifier: Classifier,
        request: Request,
        journal: Journal,
        model: str,
        *,
        resume: bool | None,
    ) -> Self:
        """Begin to count, or go on with what `journal` has; see `take_up`."""
        slide = _slide(arrivals.folder, journal.plan() if resume else [])
        take_up(journal, request, [slide], model, resume=resume)
        run = Run(classifier, request, journal, [slide])
        watch = cls(run, arrivals, run.origin(), dict(journal.kept(0)))
        for number, state in journal.files(0).items():
            name = slide.images[number].name
            arrivals.taken[name] = state.size, state.modified_ns
        return watch

    def frames(self, asked: Event) -> Iterator[str]:
        """Count what comes until `asked`; yield what is told of each frame.

        Yields an empty text after each look at the folder.
        """
        while not asked.is_set():
            for name in self.arrivals.complete():
                yield self.count(name)
                if asked.is_set():
                    return
            yield ""
            asked.wait(POLL_S)

    def count(self, name: str) -> str:
        """Count the frame `name`, which is complete; return what came of it."""
        images, path = self.run.slides[0].images, self.arrivals.folder / name
        number = images.index(path) if path in images else len(images)
        request = self.run.request
        task = Task(0, number, path, request.folder / name, self._scales(path))
        found = count_image(task, request, self.run.classifier)
        if isinstance(found, Failure):
            return self._put_off(name, found)
        if not self.arrivals.take(name):
            return f"{name}: changed or went while it was read; it is waited for"
        self._failed.pop(name, None)
        if twin := self._twin(found.file.sha256):
            return f"{name}: is {twin}, which is counted"
        self._keep(number, path, found)
        cells = len(found.kept.findings)
        return f"{name}: {cells} cell{'' if cells == 1 else 's'}"

    def report(self) -> Report:
        """Return the report on what is counted so far."""
        (slide,), scheme = self.run.slides, self.run.request.scheme
        kept = dict(sorted(self._kept.items()))
        return report_of(kept, slide.name, self.origin, self._failures(), scheme)

    def finish(self) -> tuple[Report, list[Path]]:
        """Write the reports; return what they say, and their files if there are any."""
        if not self._kept:
            return self.report(), []
        return self.run.finish(0, self._failures(), self.origin, final=False)

    def _failures(self) -> list[Failure]:
        there = self.arrivals.there()
        return [each for name, each in sorted(self._failed.items()) if name in there]

    def _put_off(self, name: str, failure: Failure) -> str:
        """Have `name` tried again later; return why, unless that was told before."""
        self.arrivals.put_off(name)
        told = self._failed.get(name) == failure
        self._failed[name] = failure
        return "" if told else f"{failure.reason}; it is tried again"

    def _scales(self, path: Path) -> Scales:
        """Return what the first frames together say of their pixel size."""
        journal, request = self.run.journal, self.run.request
        scales = journal.scales(0)
        if scales is not None or request.pixel_size_um is not None:
            return scales or {}
        first = list(dict.fromkeys((*self.run.slides[0].images, path)))[:SCALE_SAMPLE]
        scales = judge_scales(first) if len(first) > 1 else {}
        if len(first) == SCALE_SAMPLE:
            journal.keep_scales(0, scales)
        return scales

    def _twin(self, sha256: str) -> str:
        """Return the name of the frame that is counted with this content, if any."""
        records = (kept.record for kept in self._kept.values())
        return next((each.name for each in records if each.sha256 == sha256), "")

    def _keep(self, number: int, path: Path, found: Counted) -> None:
        (slide,), journal = self.run.slides, self.run.journal
        if number == len(slide.images):
            slide = replace(slide, images=(*slide.images, path))
            self.run = replace(self.run, slides=[slide])
            journal.grow(0, [image.name for image in slide.images])
        journal.drop(0, [number])  # what an earlier version of the file held
        journal.add(0, number, found.file, found.kept, found.pictures)
        self._kept[number] = found.kept


def _stamps(folder: Path) -> Iterator[tuple[str, Stamp]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_frame(entry.name):
                with suppress(FileNotFoundError):  # gone since the folder was read
                    status = entry.stat()
                    yield entry.name, (status.st_size, status.st_mtime_ns)


def _slide(folder: Path, plan: Sequence[tuple[str, Sequence[str]]]) -> Slide:
    """Return `folder` as a slide, with the images that a journal's `plan` has of it."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder to watch")
    (found,) = find_slides([folder])
    names = plan[0][1] if plan else ()
    return Slide(found.name, found.stem, tuple(folder / name for name in names), True)
