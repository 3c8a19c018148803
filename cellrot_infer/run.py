"""One run of `cellrot-infer slide`: from the inputs named to the files written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cellrot_infer.classify import Classifier
from cellrot_infer.devices import DeviceName
from cellrot_infer.files import make_folder
from cellrot_infer.outputs import write_report
from cellrot_infer.pipeline import analyze, read_frames
from cellrot_infer.slides import Slide, find_slides
from cellrot_infer.terminal import note, show_differential
from cellrot_infer.types import Report

SOME_FAILED = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for."""

    inputs: Sequence[Path]
    kinds: Sequence[str]
    folder: Path
    model: str
    pixel_size_um: float | None
    device: DeviceName
    threads: int


def run_slides(request: Request) -> int:
    """Analyze each slide, write its files and show its count; return an exit status."""
    classifier = Classifier.load(
        request.model, device=request.device, threads=request.threads
    )
    make_folder(request.folder)
    note(f"model {classifier.card.name} on the {classifier.device}")
    reports = [
        _run_slide(slide, request, classifier) for slide in find_slides(request.inputs)
    ]
    return SOME_FAILED if any(report.failures for report in reports) else 0


def _run_slide(slide: Slide, request: Request, classifier: Classifier) -> Report:
    frames = read_frames(
        slide.images,
        pixel_size_um=request.pixel_size_um,
        fallback_um=classifier.card.pixel_size_um,
    )
    report = analyze(frames, classifier, name=slide.name)
    for failure in report.failures:
        note(f"failed: {failure.reason}")
    for frame in report.frames:
        for warning in frame.warnings:
            note(f"{frame.name}: {warning}")
    if report.frames:
        show_differential(report)
        for path in write_report(report, request.kinds, request.folder, slide.stem):
            note(f"wrote {path}")
    return report
