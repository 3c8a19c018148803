"""One run of `cellrot-infer slide`: from the inputs named to the files written."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from cellrot_infer.classify import Classifier
from cellrot_infer.cluster import Cluster
from cellrot_infer.counting import Counted, Request, Task, count_image
from cellrot_infer.devices import available_threads
from cellrot_infer.errors import ModelError
from cellrot_infer.files import make_folder, remove_parts, sync_folder, write_bytes
from cellrot_infer.frames import Scales, judge_scales
from cellrot_infer.journal import Journal, Kept
from cellrot_infer.outputs import (
    Pictures,
    frame_endings,
    piped_lines,
    with_ending,
    write_slide,
)
from cellrot_infer.parallel import completed
from cellrot_infer.provenance import provenance
from cellrot_infer.resume import Left
from cellrot_infer.scan import QUIET, Progress
from cellrot_infer.slides import Slide
from cellrot_infer.types import Failure, Provenance, Report, Scheme

Results = Generator[tuple[Task, Counted | Failure], None, None]


def share_threads(threads: int, images: int) -> tuple[int, int]:
    """Return how many images to count side by side, and threads for the model in each.

    `threads` = 0 takes all processors of this process.
    """
    threads = threads or available_threads()
    workers = max(1, min(threads, images))
    return workers, threads // workers


class Stoppable:
    """Passes the progress of an image on, and ends the work on it once it is stopped.

    A large image takes minutes, and whoever stops the run does not wait for it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stopped = Event()

    def stop(self) -> None:
        """Let the next step of any image be its last."""
        self._stopped.set()

    def expect(self, steps: int) -> None:
        """Pass `steps` on; raise CancelledError where the run was stopped."""
        if self._stopped.is_set():
            raise CancelledError
        self._progress.expect(steps)

    def advance(self) -> None:
        """Pass a step on; raise CancelledError where the run was stopped."""
        if self._stopped.is_set():
            raise CancelledError
        self._progress.advance()


@dataclass(frozen=True, slots=True)
class Run:
    """Slides counted with one model.

    Images are counted side by side, in any order. What is done with one goes into the
    journal, and reports are made of what the journal holds: a run that was cut off and
    taken up again writes what one without a break does.
    """

    classifier: Classifier
    request: Request
    journal: Journal
    slides: Sequence[Slide]
    progress: Progress = QUIET
    workers: int = field(default_factory=available_threads)
    cluster: Cluster | None = None  # counts instead of the threads of this process

    def count(self, left: Left) -> Iterator[tuple[Report, list[Path]]]:
        """Count what is `left`; yield report and files of each slide, in order.

        A slide without a readable image has failures and no files.
        """
        origin = self.origin()
        self._make_folders()
        tasks = self._tasks(left)
        results = self.cluster.count(tasks) if self.cluster else self._counted(tasks)
        with closing(results):
            yield from self._slides(left, results, origin)

    def origin(self) -> Provenance:
        """Return where the reports of the run come from, also when it is taken up."""
        if self.classifier.sha256 != self.journal.identity()["model"]:
            raise ModelError("the model file was replaced as the run began; ask again")
        now = provenance(self.classifier, self.request.settings)
        return self.journal.provenance(now)

    def _counted(self, tasks: Iterator[Task]) -> Results:
        """Count the images of `tasks` in the threads of this process."""
        progress = Stoppable(self.progress)
        count = partial(
            count_image,
            request=self.request,
            classifier=self.classifier,
            progress=progress,
        )
        return completed(count, tasks, self.workers, progress.stop)

    def _slides(
        self, left: Left, results: Results, origin: Provenance
    ) -> Iterator[tuple[Report, list[Path]]]:
        failed: dict[tuple[int, int], Failure] = {}
        waiting = {number: set(images) for number, images in left.items()}
        for number, images in waiting.items():
            while images:  # images of later slides come in between
                task, result = next(results)
                waiting[task.slide].remove(task.image)
                if isinstance(result, Failure):
                    failed[task.slide, task.image] = result
                else:
                    self._keep(task, result)
                self.progress.advance()
            own = sorted(key for key in failed if key[0] == number)
            yield self.finish(number, [failed.pop(key) for key in own], origin)

    def _tasks(self, left: Left) -> Iterator[Task]:
        for number, images in left.items():
            slide = self.slides[number]
            scales = self._scales(number) if images else {}
            stems = slide.frame_stems()
            for image in sorted(images):
                place = number, image, slide.images[image]
                yield Task(*place, self.request.folder / stems[image], scales)

    def _scales(self, number: int) -> Scales:
        """Return what the frames of a slide together say of their pixel size."""
        images = self.slides[number].images
        if self.request.pixel_size_um is not None or len(images) < 2:
            return {}
        scales = self.journal.scales(number)
        if scales is None:
            with ThreadPoolExecutor(self.workers) as pool:
                spread = self.cluster.map if self.cluster else pool.map
                scales = judge_scales(images, spread)
            self.journal.keep_scales(number, scales)
        return scales

    def _keep(self, task: Task, counted: Counted) -> None:
        """Write the files of an image, and only then say that it is done."""
        for ending, content in counted.files.items():
            write_bytes(with_ending(task.base, ending), content)
        if counted.files:
            sync_folder(task.base.parent)
        place = task.slide, task.image
        self.journal.add(*place, counted.file, counted.kept, counted.pictures)

    def finish(
        self,
        number: int,
        failures: Sequence[Failure],
        origin: Provenance,
        *,
        final: bool = True,
    ) -> tuple[Report, list[Path]]:
        """Write the reports on a slide of which all is counted; see `count`.

        What they say stays in the journal, too, unless they are `final`.
        """
        slide = self.slides[number]
        if slide.fault:
            failures = [Failure(slide.name, f"{slide.name}: {slide.fault}")]
        kept = dict(self.journal.kept(number))
        report = report_of(kept, slide.name, origin, failures, self.request.scheme)
        files = self._write(number, report, kept) if kept else []
        complete = final and not failures
        self.journal.finish(number, piped_lines(report), complete=complete)
        return report, files

    def _write(
        self, number: int, report: Report, kept: Mapping[int, Kept]
    ) -> list[Path]:
        """Write the reports on a slide; return them and the files of its frames."""
        slide, kinds = self.slides[number], self.request.kinds
        pictures = Pictures()
        for image, cell, picture in self.journal.pictures(number):
            pictures.add(kept[image].record.name, cell, picture)
        base, style = self.request.folder / slide.stem, self.request.csv_style
        files = list(write_slide(report, pictures, kinds, base, style))
        sync_folder(base.parent)
        stems = slide.frame_stems()
        bases = (self.request.folder / stems[image] for image in kept)
        endings = frame_endings(kinds)
        return files + [with_ending(base, name) for base in bases for name in endings]

    def _make_folders(self) -> None:
        """Make the folders of the reports, without what a run that died had begun."""
        for folder in {
            (self.request.folder / each.stem).parent for each in self.slides
        }:
            make_folder(folder)
            remove_parts(folder)


def report_of(
    kept: Mapping[int, Kept],
    name: str,
    origin: Provenance,
    failures: Sequence[Failure],
    scheme: Scheme,
) -> Report:
    """Return the report on a slide, of which this is `kept`, by number of the image."""
    return Report(
        name,
        origin,
        tuple(each.record for each in kept.values()),
        tuple(finding for each in kept.values() for finding in each.findings),
        tuple(failures),
        scheme,
    )
