"""Cells as GeoJSON features that QuPath opens, one file a frame (RFC 7946).

Coordinates are image pixels, which is what QuPath expects; the specification's globe is
set aside. QuPath reads `objectType`, `nucleusGeometry`, `classification` with its
colour and `measurements` (since 0.4) and `metadata` (since 0.5).
"""

import uuid
from collections.abc import Mapping
from typing import Any

import cv2

from cellrot_infer.differential import row_label
from cellrot_infer.types import Finding, FrameRecord, Polygon, Report
from cellrot_infer.writers.json import json_line
from cellrot_infer.writers.outlines import corners_of
from cellrot_infer.writers.palette import UNDECIDED, Colour, class_colours
from cellrot_infer.writers.text import shown

Ring = list[tuple[int, int]]


def frame_to_geojson(report: Report, frame: FrameRecord) -> str:
    """Return the cells of `frame` as one line of a GeoJSON feature collection."""
    colours = class_colours(report)
    features = [
        _feature(finding, frame, colours)
        for finding in report.findings
        if finding.frame == frame.name
    ]
    collection = {"type": "FeatureCollection", "features": features}
    return json_line(collection)


def _feature(
    finding: Finding, frame: FrameRecord, colours: Mapping[str, Colour]
) -> dict[str, Any]:
    cell = finding.cell
    feature = {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{frame.sha256} {finding.number}")),
        "geometry": _polygon(_ring(cell.outline) or _ring(cell.box.corners)),
        "properties": {
            "objectType": "cell",
            "name": str(finding.number),
            "classification": _classification(finding, colours),
            "measurements": _measurements(finding),
            "metadata": {
                "label": shown(finding.label),
                "runner_up": shown(finding.runner_up),
                "decision": finding.decision,
            },
        },
    }
    if lobes := [ring for ring in map(_ring, cell.nucleus) if ring]:
        feature["nucleusGeometry"] = _polygon(*lobes)
    return feature


def _classification(
    finding: Finding, colours: Mapping[str, Colour]
) -> dict[str, str | Colour]:
    accepted = finding.decision == "accepted"
    # QuPath refuses a class without a name, and one whose name has a line end
    return {
        "name": shown(row_label(finding)).strip() or "unnamed",
        "color": colours[finding.label] if accepted else UNDECIDED,
    }


def _measurements(finding: Finding) -> dict[str, float]:
    return {
        "Cell: Area um^2": finding.cell.area_um2,
        "Nucleus: Area um^2": finding.cell.nucleus_area_um2,
        "Probability": finding.probability,
        "Runner-up probability": finding.runner_up_probability,
        "Novelty": finding.novelty,
        "Outline quality": finding.cell.quality,
    }


def _polygon(*rings: Ring) -> dict[str, Any]:
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings}
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}


def _ring(corners: Polygon) -> Ring:
    """Return `corners` closed, x turning towards y; nothing where they hold no area."""
    area = cv2.contourArea(corners_of(corners), oriented=True)
    if area == 0:
        return []
    ring = corners if area > 0 else corners[::-1]
    return [*ring, ring[0]]
