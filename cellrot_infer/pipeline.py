"""Frames into a report: composes the steps, computes nothing itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2

from cellrot_infer.card import ModelCard
from cellrot_infer.classify import Classifier
from cellrot_infer.decision import decide
from cellrot_infer.errors import FrameError
from cellrot_infer.field import Field
from cellrot_infer.frames import Scales, judge_scales, read_frame
from cellrot_infer.images import is_large
from cellrot_infer.largeimage import LargeImage, in_tiles, open_large
from cellrot_infer.lineages import read_scheme
from cellrot_infer.patches import cut_patches
from cellrot_infer.provenance import Pairs, provenance
from cellrot_infer.quality import field_quality
from cellrot_infer.recut import Recut
from cellrot_infer.reference import fits
from cellrot_infer.restain import as_at_home, unlikeness
from cellrot_infer.scan import QUIET, Progress, Scan, scan
from cellrot_infer.segment import segment_field
from cellrot_infer.tiles import check_region, inside, middle_px
from cellrot_infer.types import (
    EVERYTHING,
    RGB,
    Cell,
    Failure,
    Finding,
    Frame,
    FrameRecord,
    Predictions,
    Report,
    Scheme,
    Selection,
)

STRANGE_STAIN = (
    "stained unlike what the model learned from: no cell of it is accepted unseen, "
    "review them"
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What was found in one frame; a patch (256, 256, 3) goes with each of `findings`.

    Of a large image, `frame` is a smaller copy, and `patches` are cut as they are asked
    for, as long as its file is open.
    """

    frame: Frame
    record: FrameRecord
    findings: tuple[Finding, ...]
    patches: Iterable[RGB]


def read_frames(
    paths: Sequence[Path], *, pixel_size_um: float | None = None, fallback_um: float
) -> Iterator[Frame | LargeImage | Failure]:
    """Read the images of a slide; one that cannot be read gives a Failure in its place.

    Where nothing tells their pixel size, the red cells of all of them do together.
    """
    several = pixel_size_um is None and len(paths) > 1
    scales = judge_scales(paths) if several else {}
    for path in paths:
        frame = read_or_fail(
            path, pixel_size_um=pixel_size_um, fallback_um=fallback_um, scales=scales
        )
        with closing(frame) if isinstance(frame, LargeImage) else nullcontext():
            yield frame  # a large one is read until the next is asked for


def read_or_fail(
    path: Path,
    *,
    pixel_size_um: float | None,
    fallback_um: float,
    scales: Scales,
    level: int = 0,
) -> Frame | LargeImage | Failure:
    """Return the frame at `path`, or why there is none; see `read_frame`.

    What is too large for one piece, and every `level` but the first, is opened to be
    read in parts; see `open_large`.
    """

    def read() -> Frame | LargeImage:
        if level or is_large(path):
            return open_large(
                path, level=level, pixel_size_um=pixel_size_um, fallback_um=fallback_um
            )
        return read_frame(
            path, pixel_size_um=pixel_size_um, fallback_um=fallback_um, scales=scales
        )

    return or_fail(read, str(path), "read")


def analyze(
    frames: Iterable[Frame | LargeImage | Failure],
    classifier: Classifier,
    *,
    name: str = "slide",
    scheme: Scheme | None = None,
) -> Report:
    """Return the report on `frames`, which are one slide.

    Frames are taken one at a time, so that memory does not grow with their number.
    """
    results = analyze_frames(frames, classifier)
    return compose_report(results, classifier, name=name, scheme=scheme)


def analyze_frames(
    frames: Iterable[Frame | LargeImage | Failure], classifier: Classifier
) -> Iterator[FrameResult | Failure]:
    """Analyze each frame as it comes; failures pass through."""
    for frame in frames:
        yield analyze_or_fail(frame, classifier)


def analyze_or_fail(
    frame: Frame | LargeImage | Failure,
    classifier: Classifier,
    selection: Selection = EVERYTHING,
    progress: Progress = QUIET,
) -> FrameResult | Failure:
    """Analyze `frame`; a failure stays one, and so becomes what stops the analysis.

    Of a large image, `progress` is told the tiles.
    """
    if isinstance(frame, Failure):
        return frame

    def analyze() -> FrameResult:
        if isinstance(frame, LargeImage):
            return analyze_large(frame, classifier, selection, progress)
        return analyze_frame(frame, classifier, selection)

    return or_fail(analyze, frame.name, "analyze")


def or_fail(work: Callable[[], Result], name: str, verb: str) -> Result | Failure:
    """Return what `work` gives, or why `name` cannot be what `verb` says."""
    try:
        return work()
    except FrameError as error:
        return Failure(name, str(error))
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        return Failure(name, f"{name}: not enough memory to {verb} it")


def analyze_large(
    image: LargeImage,
    classifier: Classifier,
    selection: Selection = EVERYTHING,
    progress: Progress = QUIET,
) -> FrameResult:
    """Find the cells of `image` tile by tile and classify them.

    Raises FrameError where its file is damaged.
    """
    found = scan(image, classifier, selection, progress)
    return result_of_scan(image, found, classifier, selection)


def result_of_scan(
    image: LargeImage,
    found: Scan,
    classifier: Classifier,
    selection: Selection = EVERYTHING,
) -> FrameResult:
    """Return what was `found` in `image` as the result of a frame."""
    at_home = unlikeness(found.reference.known.colours, classifier.card.stain) < 1
    findings = _findings(
        image.name, found.cells, found.predictions, classifier.card, at_home
    )
    width, height = image.raster.sizes_px[0]
    warnings = image.warnings
    others = found.seen - found.empty
    warnings += tuple(
        f"{count} of {others} tiles with cells: {fault}"
        for fault, count in found.faults.items()
    )
    if len(findings) == selection.max_cells:
        looked = f"{found.seen} of {found.tiles} tiles were looked at"
        warnings += (f"stopped at {len(findings)} cells, as asked; {looked}",)
    warnings += () if at_home else (STRANGE_STAIN,)
    record = FrameRecord(
        image.name, image.sha256, width, height, image.pixel_size, warnings
    )
    patches = Recut(image, found.cells, found.reference, classifier.card.pixel_size_um)
    return FrameResult(found.overview, record, findings, patches)


def analyze_frame(
    frame: Frame, classifier: Classifier, selection: Selection = EVERYTHING
) -> FrameResult:
    """Find the cells of `frame` and classify them."""
    if not fits(frame):
        return analyze_large(in_tiles(frame), classifier, selection)
    card = classifier.card
    field = Field.of(frame)
    found, colours = segment_field(field)
    cells, light = _selected(found, selection, frame), field.glass.light
    patches = cut_patches(frame, cells, card.pixel_size_um, light)
    quality = field_quality(field, found)
    seen = as_at_home(patches, light, colours, quality.focus, card)
    predictions = classifier.classify(seen)
    at_home = unlikeness(colours, card.stain) < 1
    findings = _findings(frame.name, cells, predictions, card, at_home)
    warnings = frame.warnings + quality.warnings
    warnings += () if at_home else (STRANGE_STAIN,)
    if len(findings) == selection.max_cells:
        warnings += (f"stopped at {len(findings)} cells, as asked",)
    return FrameResult(frame, _record(frame, warnings), findings, patches)


def compose_report(
    results: Iterable[FrameResult | Failure],
    classifier: Classifier,
    *,
    name: str,
    settings: Pairs = (),
    scheme: Scheme | None = None,
) -> Report:
    """Return the report of `results`; keeps none of their pixels.

    Without a `scheme`, cells are counted by the one that the package brings.
    """
    records: list[FrameRecord] = []
    findings: list[Finding] = []
    failures: list[Failure] = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            records.append(result.record)
            findings += result.findings
    return Report(
        name,
        provenance(classifier, settings),
        tuple(records),
        tuple(findings),
        tuple(failures),
        read_scheme() if scheme is None else scheme,
    )


def _selected(cells: list[Cell], selection: Selection, frame: Frame) -> list[Cell]:
    if (region := selection.region) is not None:
        height, width = frame.pixels.shape[:2]
        check_region(region, (width, height), frame.name)
        cells = [cell for cell in cells if inside(region, *middle_px(cell))]
    return cells[: selection.max_cells]


def _findings(
    frame: str,
    cells: Sequence[Cell],
    predictions: Predictions,
    card: ModelCard,
    at_home: bool,
) -> tuple[Finding, ...]:
    orientations = [None] * len(cells)
    if predictions.orientation_rad is not None:
        orientations = predictions.orientation_rad.tolist()
    areas_um2 = [cell.area_um2 for cell in cells]
    verdicts = decide(predictions, card, areas_um2, at_home=at_home)
    columns = zip(
        cells, verdicts, predictions.novelty.tolist(), orientations, strict=True
    )
    return tuple(
        Finding(
            frame=frame,
            number=number,
            cell=cell,
            label=verdict.label,
            probability=verdict.probability,
            runner_up=verdict.runner_up,
            runner_up_probability=verdict.runner_up_probability,
            decision=verdict.decision,
            novelty=novelty,
            orientation_rad=orientation,
        )
        for number, (cell, verdict, novelty, orientation) in enumerate(columns, start=1)
    )


def _record(frame: Frame, warnings: tuple[str, ...]) -> FrameRecord:
    height, width = frame.pixels.shape[:2]
    return FrameRecord(
        frame.name, frame.sha256, width, height, frame.pixel_size, warnings
    )
