"""The files of a report: which kinds there are, and what each is called."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellrot_infer.files import write_bytes, write_text
from cellrot_infer.pipeline import FrameResult
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import ENGLISH, CsvStyle, cells_csv, differential_csv
from cellrot_infer.writers.geojson import frame_to_geojson
from cellrot_infer.writers.html import report_to_html
from cellrot_infer.writers.json import report_to_json
from cellrot_infer.writers.overlay import overlay_png
from cellrot_infer.writers.summary import summary_csv
from cellrot_infer.writers.thumbnail import preview, thumbnail

MAX_PICTURES = 64_000_000  # bytes; a page with more than that opens nowhere


@dataclass(slots=True)
class Pictures:
    """Small images of cells and frames, kept while their frames go by."""

    thumbnails: dict[tuple[str, int], bytes] = field(default_factory=dict)
    previews: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, result: FrameResult) -> None:
        """Keep pictures of `result`, unless there are too many already."""
        if self.size > MAX_PICTURES:
            return
        for finding, patch in zip(result.findings, result.patches, strict=True):
            picture = thumbnail(patch, finding.orientation_rad)
            self.thumbnails[finding.frame, finding.number] = picture
            self.size += len(picture)
        self.previews[result.frame.name] = preview(result.frame.pixels)
        self.size += len(self.previews[result.frame.name])


# One file a slide: a view of its whole report.
_OF_SLIDE: Mapping[str, Mapping[str, Callable[[Report, Pictures, CsvStyle], str]]] = {
    "csv": {
        "cells.csv": lambda report, _, style: cells_csv(report, style),
        "differential.csv": lambda report, _, style: differential_csv(report, style),
        "summary.csv": lambda report, _, style: summary_csv(report, style),
    },
    "json": {"json": lambda report, *_: report_to_json(report)},
    "html": {
        "html": lambda report, pictures, _: report_to_html(
            report, pictures.thumbnails, pictures.previews
        ),
        # what a review is applied to; written later, it would be another report
        "json": lambda report, *_: report_to_json(report),
    },
}
# One file a frame, written as soon as the frame is done: views of a report on it.
_OF_FRAME: Mapping[str, tuple[str, Callable[[Report, FrameResult], bytes]]] = {
    "geojson": (
        "geojson",
        lambda report, result: frame_to_geojson(report, result.record).encode(),
    ),
    "overlay": (
        "overlay.png",
        lambda report, result: overlay_png(report, result.frame),
    ),
}
KINDS = (*_OF_SLIDE, *_OF_FRAME)


def needs_frames(kinds: Sequence[str]) -> bool:
    """Return whether one of `kinds` writes a file a frame."""
    return any(kind in _OF_FRAME for kind in kinds)


def needs_pictures(kinds: Sequence[str]) -> bool:
    """Return whether one of `kinds` shows the cells."""
    return "html" in kinds


def write_frame(
    report: Report, result: FrameResult, kinds: Sequence[str], base: Path
) -> Iterator[Path]:
    """Write the files of `result`, named after `base`; yield each when complete.

    `report` is on this frame alone.
    """
    for kind in kinds:
        if kind in _OF_FRAME:
            ending, view = _OF_FRAME[kind]
            yield _written(base, ending, view(report, result))


def write_slide(
    report: Report,
    pictures: Pictures,
    kinds: Sequence[str],
    base: Path,
    style: CsvStyle = ENGLISH,
) -> Iterator[Path]:
    """Write the files of `report`, named after `base`; yield each when complete."""
    views = {
        ending: view
        for kind in kinds
        for ending, view in _OF_SLIDE.get(kind, {}).items()
    }
    for ending, view in views.items():
        yield _written(base, ending, view(report, pictures, style))


def _written(base: Path, ending: str, content: str | bytes) -> Path:
    path = base.with_name(f"{base.name}.{ending}")
    if isinstance(content, str):
        write_text(path, content)
    else:
        write_bytes(path, content)
    return path
