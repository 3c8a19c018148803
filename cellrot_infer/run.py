"""One run of `cellrot-infer slide`: from the inputs named to the files written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellrot_infer.classify import Classifier
from cellrot_infer.files import make_folder
from cellrot_infer.outputs import (
    Pictures,
    needs_frames,
    needs_pictures,
    write_frame,
    write_slide,
)
from cellrot_infer.overlap import alongside
from cellrot_infer.pipeline import (
    FrameResult,
    analyze_frames,
    compose_report,
    read_frames,
)
from cellrot_infer.provenance import Pairs
from cellrot_infer.slides import Slide, distinct_stems, find_slides
from cellrot_infer.types import Failure, Report, Scheme
from cellrot_infer.writers.csv import ENGLISH, CsvStyle


@dataclass(frozen=True, slots=True)
class Request:
    """What to do with each slide."""

    kinds: Sequence[str]
    folder: Path
    scheme: Scheme
    pixel_size_um: float | None = None
    csv_style: CsvStyle = ENGLISH

    @property
    def settings(self) -> Pairs:
        """What changes the result, for the report."""
        told = self.pixel_size_um
        return (("pixel size", "automatic" if told is None else f"{told:g} um"),)


@dataclass(frozen=True, slots=True)
class Run:
    """Slides analysed one after the other with one model."""

    classifier: Classifier
    request: Request
    on_frame: Callable[[], None] = field(default=lambda: None)

    def slides(self, slides: Iterable[Slide]) -> Iterator[tuple[Report, list[Path]]]:
        """Analyze each slide and write its files; yield its report and its files.

        A slide without a readable image has failures and no files.
        """
        make_folder(self.request.folder)
        for slide in slides:
            yield self._slide(slide)

    def _slide(self, slide: Slide) -> tuple[Report, list[Path]]:
        if not slide.images:
            reason = f"{slide.name}: no images in this folder"
            return self._report([Failure(slide.name, reason)], slide), []
        files: list[Path] = []
        pictures = Pictures()
        report = self._report(self._results(slide, files, pictures), slide)
        if report.frames:
            base = self.request.folder / slide.stem
            kinds = self.request.kinds
            style = self.request.csv_style
            files[:0] = write_slide(report, pictures, kinds, base, style)
        return report, files

    def _results(
        self, slide: Slide, files: list[Path], pictures: Pictures
    ) -> Iterator[FrameResult | Failure]:
        """Yield the result of each image; fill `files` and `pictures` on the way."""
        frames = read_frames(
            slide.images,
            pixel_size_um=self.request.pixel_size_um,
            fallback_um=self.classifier.card.pixel_size_um,
        )
        results = analyze_frames(frames, self.classifier)
        bases = iter(self._frame_bases(slide))

        def write(result: FrameResult | Failure) -> None:
            base = next(bases)
            if isinstance(result, FrameResult):
                files.extend(self._write(result, slide, pictures, base))

        for result in alongside(results, write):
            self.on_frame()
            yield result

    def _write(
        self, result: FrameResult, slide: Slide, pictures: Pictures, base: Path
    ) -> Iterator[Path]:
        """Write the files of one frame and keep its pictures for those of the slide."""
        kinds = self.request.kinds
        if needs_pictures(kinds):
            pictures.add(result)
        if needs_frames(kinds):
            yield from write_frame(self._report([result], slide), result, kinds, base)

    def _frame_bases(self, slide: Slide) -> list[Path]:
        base = self.request.folder / slide.stem
        if not slide.is_folder:
            return [base]
        stems = distinct_stems(slide.images)
        return [base.with_name(f"{base.name}.{stem}") for stem in stems]

    def _report(self, results: Iterable[FrameResult | Failure], slide: Slide) -> Report:
        return compose_report(
            results,
            self.classifier,
            name=slide.name,
            settings=self.request.settings,
            scheme=self.request.scheme,
        )


__all__ = ["Request", "Run", "find_slides"]
