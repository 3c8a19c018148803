"""Any report that the types allow, hostile text included, for property tests."""

import json
from typing import Any

from hypothesis import strategies as st

from cellrot_infer.types import (
    Box,
    Cell,
    Correction,
    Failure,
    Finding,
    FrameRecord,
    Lineage,
    PixelSize,
    Polygon,
    Provenance,
    RatioRule,
    Report,
    Scheme,
)
from cellrot_infer.writers.json import report_from_json, report_to_json

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"quoted\" & 'single'",
    '=HYPERLINK("http://example.org","x")',
    "+cmd|' /C calc'!A0",
    "gpj.\u202eexe \u2067rtl\u2069",
    "a\nb\tc\x00d\u2028e",
    "x" * 300,
    "Knochenmark Müller 血.jpg",
    "\udcff undecodable",
)

# Cs, lone surrogates: what Python makes of a file name that is no UTF-8
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=20)
pixels = st.integers(0, 20_000)
sizes_px = st.integers(1, 2_000)
fractions = st.floats(0, 1)
areas_um2 = st.floats(0, 5_000)
corners = st.tuples(pixels, pixels)
polygons: st.SearchStrategy[Polygon] = st.lists(corners, max_size=12).map(tuple)
pairs = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
hashes = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
names = st.lists(texts, max_size=4).map(tuple)
boxes = st.builds(Box, pixels, pixels, sizes_px, sizes_px)
cells = st.builds(
    Cell,
    box=boxes,
    outline=polygons,
    nucleus=st.lists(polygons, max_size=3).map(tuple),
    area_um2=areas_um2,
    nucleus_area_um2=areas_um2,
    quality=fractions,
)
findings = st.builds(
    Finding,
    frame=texts,
    number=st.integers(1, 10_000),
    cell=cells,
    label=texts,
    probability=fractions,
    runner_up=texts,
    runner_up_probability=fractions,
    novelty=st.floats(0, 1e6),
    orientation_rad=st.none() | st.floats(-3.15, 3.15),
)
pixel_sizes = st.builds(PixelSize, um=st.floats(0.01, 2), spread=fractions)
frames = st.builds(
    FrameRecord, texts, hashes, sizes_px, sizes_px, pixel_sizes, warnings=names
)


@st.composite
def provenances_with_confusion(draw: st.DrawFn) -> Provenance:
    """Return where a report comes from; its confusion fits its classes or is empty."""
    classes = draw(names)
    row = st.tuples(*[st.integers(0, 10_000)] * len(classes))
    return Provenance(
        model=draw(texts),
        model_sha256=draw(hashes),
        class_names=classes,
        provider=draw(texts),
        versions=draw(pairs),
        settings=draw(pairs),
        created=draw(texts),
        confusion=draw(st.just(()) | st.tuples(*[row] * len(classes))),
    )


provenances = provenances_with_confusion()
corrections = st.builds(
    Correction, texts, st.integers(1, 10_000), texts, texts, texts, texts
)
schemes = st.builds(
    Scheme,
    excluded=names,
    lineages=st.lists(st.builds(Lineage, texts, names), max_size=2).map(tuple),
    ratios=st.lists(st.builds(RatioRule, texts, names, names), max_size=2).map(tuple),
)
failures = st.builds(Failure, texts, texts)
reports = st.builds(
    Report,
    name=texts,
    provenance=provenances,
    frames=st.lists(frames, max_size=3).map(tuple),
    findings=st.lists(findings, max_size=4).map(tuple),
    failures=st.lists(failures, max_size=2).map(tuple),
    scheme=schemes,
    corrections=st.lists(corrections, max_size=2).map(tuple),
)


def prefixed(report: Report, start: str) -> Report:
    """Return `report` with `start` before every text that may be any text."""
    values = _prefixed(json.loads(report_to_json(report)), start)
    return report_from_json(json.dumps(values))


def _prefixed(value: Any, start: str, key: str = "") -> Any:  # noqa: ANN401, any JSON
    if isinstance(value, dict):
        return {name: _prefixed(each, start, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_prefixed(each, start, key) for each in value]
    is_free = isinstance(value, str) and key not in {"decision", "source"}
    return start + value if is_free else value
