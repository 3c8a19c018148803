"""The files of a report: which kinds there are, and what each is called."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cellrot_infer.files import write_text
from cellrot_infer.pipeline import FrameResult
from cellrot_infer.tiles import moved
from cellrot_infer.types import Report
from cellrot_infer.writers.csv import (
    ENGLISH,
    CsvStyle,
    cells_csv,
    csv_lines,
    differential_csv,
    differential_rows,
    plain,
)
from cellrot_infer.writers.geojson import frame_to_geojson
from cellrot_infer.writers.html import report_to_html
from cellrot_infer.writers.json import report_to_json, text_sha256
from cellrot_infer.writers.overlay import overlay_png
from cellrot_infer.writers.summary import summary_csv
from cellrot_infer.writers.thumbnail import preview, thumbnail

MAX_PICTURES = 64_000_000  # bytes; a page with more than that opens nowhere


@dataclass(slots=True)
class Pictures:
    """Small images of cells and frames, as many as a page can hold."""

    thumbnails: dict[tuple[str, int], bytes] = field(default_factory=dict)
    previews: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, frame: str, number: int, picture: bytes) -> None:
        """Keep the picture of cell `number` of `frame`; 0 is that of the frame."""
        if self.size > MAX_PICTURES:
            return
        if number == 0:
            self.previews[frame] = picture
        else:
            self.thumbnails[frame, number] = picture
        self.size += len(picture)


@dataclass(frozen=True)
class _Contents:
    """What the files of a slide show."""

    report: Report
    pictures: Pictures
    style: CsvStyle

    @cached_property
    def json(self) -> str:
        """The report as JSON: one file, and what names the report in another."""
        return report_to_json(self.report)

    def html(self) -> str:
        """Return the report as a page."""
        shown = self.pictures
        digest = text_sha256(self.json)
        return report_to_html(self.report, digest, shown.thumbnails, shown.previews)


# One file a slide: a view of its whole report.
SlideView = Callable[[_Contents], str]
_OF_SLIDE: Mapping[str, Mapping[str, SlideView]] = {
    "csv": {
        "cells.csv": lambda slide: cells_csv(slide.report, slide.style),
        "differential.csv": lambda slide: differential_csv(slide.report, slide.style),
        "summary.csv": lambda slide: summary_csv(slide.report, slide.style),
    },
    "json": {"json": lambda slide: slide.json},
    "html": {
        "html": lambda slide: slide.html(),
        # what a review is applied to; written later, it would be another report
        "json": lambda slide: slide.json,
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
        lambda report, result: overlay_png(_in_view(report, result), result.frame),
    ),
}
KINDS = (*_OF_SLIDE, *_OF_FRAME)


def frame_files(
    report: Report, result: FrameResult, kinds: Sequence[str]
) -> dict[str, bytes]:
    """Return what the files of the frame in `result` hold, by their endings.

    `report` is on this frame alone.
    """
    views = (_OF_FRAME[kind] for kind in kinds if kind in _OF_FRAME)
    return {ending: view(report, result) for ending, view in views}


def frame_pictures(result: FrameResult, kinds: Sequence[str]) -> dict[int, bytes]:
    """Return the pictures that `kinds` need, by the number of the cell; 0 is the frame.

    Cells are numbered from 1.
    """
    if "html" not in kinds:
        return {}
    pictures = {0: preview(result.frame.pixels)}
    size = 0
    for finding, patch in zip(result.findings, result.patches, strict=False):
        pictures[finding.number] = thumbnail(patch, finding.orientation_rad)
        size += len(pictures[finding.number])
        if size > MAX_PICTURES:
            break  # a large image has more cells than a page can show
    return pictures


def _in_view(report: Report, result: FrameResult) -> Report:
    """Return `report` in pixels of the view of a large image, which is smaller."""
    factor = result.frame.pixels.shape[1] / result.record.width_px
    if factor == 1:
        return report
    findings = (
        replace(finding, cell=moved(finding.cell, 0, 0, factor))
        for finding in report.findings
    )
    return replace(report, findings=tuple(findings))


def frame_endings(kinds: Sequence[str]) -> list[str]:
    """Return how the names of a frame's own files end."""
    return [_OF_FRAME[kind][0] for kind in kinds if kind in _OF_FRAME]


def slide_endings(kinds: Sequence[str]) -> list[str]:
    """Return how the names of a slide's files end."""
    return list(_slide_views(kinds))


def write_slide(
    report: Report,
    pictures: Pictures,
    kinds: Sequence[str],
    base: Path,
    style: CsvStyle = ENGLISH,
) -> Iterator[Path]:
    """Write the files of `report`, named after `base`; yield each when complete."""
    contents = _Contents(report, pictures, style)
    for name, view in _slide_views(kinds).items():
        path = with_ending(base, name)
        write_text(path, view(contents))
        yield path


def piped_lines(report: Report) -> str:
    """Return the lines of CSV that a pipe is given of `report`, without a header."""
    if not report.frames:
        return ""
    name = plain(report.name)
    return csv_lines([(name, *row) for row in differential_rows(report)])


def with_ending(base: Path, name: str) -> Path:
    """Return `base` with the ending `name` after a dot."""
    return base.with_name(f"{base.name}.{name}")


def _slide_views(kinds: Sequence[str]) -> dict[str, SlideView]:
    return {
        name: view for kind in kinds for name, view in _OF_SLIDE.get(kind, {}).items()
    }
