"""GeoJSON as RFC 7946 defines it and as QuPath reads it."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from geojson_pydantic import FeatureCollection, MultiPolygon, Polygon
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from cellrot_infer.types import FrameRecord, Report
from cellrot_infer.writers.geojson import frame_to_geojson
from cellrot_infer.writers.palette import PALETTE, UNDECIDED
from tests.infer.report_strategies import HOSTILE, frames, reports
from tests.infer.slides import slide

SLIDE = slide(12)
FRAME = SLIDE.frames[0]
some = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)


def features_of(report: Report, frame: FrameRecord = FRAME) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = json.loads(frame_to_geojson(report, frame))[
        "features"
    ]
    return features


def doubled_area(ring: list[list[int]]) -> int:
    turns = itertools.pairwise(ring)
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in turns)


@some
@given(reports, frames)
def test_any_report_is_a_valid_feature_collection(
    report: Report, frame: FrameRecord
) -> None:
    here = tuple(replace(finding, frame=frame.name) for finding in report.findings)

    text = frame_to_geojson(replace(report, findings=here), frame)

    collection: FeatureCollection[Any] = FeatureCollection.model_validate_json(text)
    assert len(collection.features) == len(here)


def test_the_check_rejects_an_open_ring() -> None:
    text = frame_to_geojson(SLIDE, FRAME)
    open_ring = json.loads(text)
    del open_ring["features"][0]["geometry"]["coordinates"][0][-1]

    with pytest.raises(ValidationError):
        FeatureCollection.model_validate_json(json.dumps(open_ring))


def test_outlines_are_in_pixels_of_the_frame() -> None:
    (ring,) = features_of(SLIDE)[1]["geometry"]["coordinates"]

    assert {tuple(corner) for corner in ring} == set(SLIDE.findings[1].cell.outline)


@some
@given(reports, frames)
def test_every_ring_turns_the_way_the_specification_asks(
    report: Report, frame: FrameRecord
) -> None:
    here = tuple(replace(finding, frame=frame.name) for finding in report.findings)

    for feature in features_of(replace(report, findings=here), frame):
        assert doubled_area(feature["geometry"]["coordinates"][0]) > 0


def test_the_nucleus_comes_along_lobe_by_lobe() -> None:
    lobe = SLIDE.findings[0].cell.nucleus[0]
    further = tuple((x + 300, y) for x, y in lobe)
    cell = replace(SLIDE.findings[0].cell, nucleus=(lobe, further))
    two = replace(SLIDE, findings=(replace(SLIDE.findings[0], cell=cell),))

    MultiPolygon.model_validate(features_of(two)[0]["nucleusGeometry"])
    Polygon.model_validate(features_of(SLIDE)[0]["nucleusGeometry"])


def test_a_cell_without_an_outline_is_its_box() -> None:
    cell = replace(SLIDE.findings[0].cell, outline=((5, 5), (6, 6)))
    report = replace(SLIDE, findings=(replace(SLIDE.findings[0], cell=cell),))

    (ring,) = features_of(report)[0]["geometry"]["coordinates"]

    assert ring == [[52, 58], [205, 58], [205, 199], [52, 199], [52, 58]]


def test_classes_have_the_colours_of_every_other_view() -> None:
    first, *_ = SLIDE.findings
    other = replace(first, decision="unknown", number=2)
    pair = replace(SLIDE, findings=(first, other))

    classes = [f["properties"]["classification"] for f in features_of(pair)]

    at = SLIDE.provenance.class_names.index(first.label)
    assert classes == [
        {"name": first.label, "color": list(PALETTE[at])},
        {"name": "unknown", "color": list(UNDECIDED)},
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    hostile = replace(SLIDE.findings[0], label=name, runner_up=name)
    report = replace(SLIDE, findings=(hostile,))

    found = features_of(report)[0]["properties"]
    kept = found["metadata"]

    for shown in (found["classification"]["name"], kept["label"], kept["runner_up"]):
        assert shown
        assert not set(shown) & set("\n\u202e\u2067\udcff\x00")


def test_a_class_without_a_name_has_one_for_qupath() -> None:
    blank = replace(SLIDE.findings[0], label=" ")
    (feature,) = features_of(replace(SLIDE, findings=(blank,)))
    assert feature["properties"]["classification"]["name"] == "unnamed"


def test_a_cell_carries_its_number_its_measures_and_its_second_choice() -> None:
    finding = SLIDE.findings[1]
    cell = finding.cell

    properties = features_of(SLIDE)[1]["properties"]

    assert properties["name"] == "2"
    assert properties["measurements"] == {
        "Cell: Area um^2": cell.area_um2,
        "Nucleus: Area um^2": cell.nucleus_area_um2,
        "Probability": finding.probability,
        "Runner-up probability": finding.runner_up_probability,
        "Novelty": finding.novelty,
        "Outline quality": cell.quality,
    }
    assert properties["metadata"]["runner_up"] == finding.runner_up


def test_ids_name_the_cell_of_the_image_file() -> None:
    ids = {feature["id"] for feature in features_of(SLIDE)}
    elsewhere = features_of(SLIDE, replace(FRAME, sha256="cd" * 32))

    assert len(ids) == 12
    assert not ids & {feature["id"] for feature in elsewhere}
