"""Frames into a report: composes the steps, computes nothing itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from cellrot_infer.classify import Classifier
from cellrot_infer.decision import decide
from cellrot_infer.errors import FrameError
from cellrot_infer.frames import Scales, judge_scales, read_frame
from cellrot_infer.lineages import read_scheme
from cellrot_infer.patches import cut_patches
from cellrot_infer.provenance import Pairs, provenance
from cellrot_infer.quality import field_quality
from cellrot_infer.segment import segment
from cellrot_infer.types import (
    Cell,
    Failure,
    Finding,
    Frame,
    FrameRecord,
    Patches,
    Predictions,
    Report,
    Scheme,
)


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What was found in one frame; `patches` (N, 256, 256, 3) go with `findings`."""

    frame: Frame
    record: FrameRecord
    findings: tuple[Finding, ...]
    patches: Patches


def read_frames(
    paths: Sequence[Path], *, pixel_size_um: float | None = None, fallback_um: float
) -> Iterator[Frame | Failure]:
    """Read the images of a slide; one that cannot be read gives a Failure in its place.

    Where nothing tells their pixel size, the red cells of all of them do together.
    """
    several = pixel_size_um is None and len(paths) > 1
    scales = judge_scales(paths) if several else {}
    for path in paths:
        yield read_or_fail(
            path, pixel_size_um=pixel_size_um, fallback_um=fallback_um, scales=scales
        )


def read_or_fail(
    path: Path, *, pixel_size_um: float | None, fallback_um: float, scales: Scales
) -> Frame | Failure:
    """Return the frame at `path`, or why there is none; see `read_frame`."""
    try:
        return read_frame(
            path, pixel_size_um=pixel_size_um, fallback_um=fallback_um, scales=scales
        )
    except FrameError as error:
        return Failure(str(path), str(error))
    except (MemoryError, cv2.error) as error:
        return _too_large(str(path), error, "read")


def analyze(
    frames: Iterable[Frame | Failure],
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
    frames: Iterable[Frame | Failure], classifier: Classifier
) -> Iterator[FrameResult | Failure]:
    """Analyze each frame as it comes; failures pass through."""
    for frame in frames:
        yield analyze_or_fail(frame, classifier)


def analyze_or_fail(
    frame: Frame | Failure, classifier: Classifier
) -> FrameResult | Failure:
    """Analyze `frame`; a failure stays one, and too little memory becomes one."""
    if isinstance(frame, Failure):
        return frame
    try:
        return analyze_frame(frame, classifier)
    except (MemoryError, cv2.error) as error:
        return _too_large(frame.name, error, "analyze")


def analyze_frame(frame: Frame, classifier: Classifier) -> FrameResult:
    """Find the cells of `frame` and classify them."""
    cells = segment(frame)
    patches = cut_patches(frame, cells, classifier.card.pixel_size_um)
    predictions = classifier.classify(patches)
    findings = _findings(frame.name, cells, predictions, classifier)
    warnings = frame.warnings + field_quality(frame, cells).warnings
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


def _findings(
    frame: str, cells: Sequence[Cell], predictions: Predictions, classifier: Classifier
) -> tuple[Finding, ...]:
    orientations = [None] * len(cells)
    if predictions.orientation_rad is not None:
        orientations = predictions.orientation_rad.tolist()
    verdicts = decide(predictions, classifier.card)
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


def _too_large(name: str, error: MemoryError | cv2.error, verb: str) -> Failure:
    """Return that memory ran out over `name`; raise what is any other error."""
    if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
        raise error
    return Failure(name, f"{name}: not enough memory to {verb} it")


def _record(frame: Frame, warnings: tuple[str, ...]) -> FrameRecord:
    height, width = frame.pixels.shape[:2]
    return FrameRecord(
        frame.name, frame.sha256, width, height, frame.pixel_size, warnings
    )
