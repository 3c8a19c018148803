"""The report as one HTML file that opens anywhere, for reading and for review.

Nothing is fetched: a content security policy forbids all network access and every
script and style but the ones that were written here, named by their hashes.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from cellrot_infer.files import write_bytes
from cellrot_infer.types import Report
from cellrot_infer.writers import originsections
from cellrot_infer.writers.countsection import count_section
from cellrot_infer.writers.json import json_line, report_sha256
from cellrot_infer.writers.pagedata import page_data
from cellrot_infer.writers.text import shown

Thumbnails = Mapping[tuple[str, int], bytes]  # (frame, number of the cell) -> image
SCRIPTS = (
    "statistics",
    "review",
    "differential",
    "gallery",
    "choosing",
    "detail",
    "sha256",
    "saving",
    "start",
)


def write_html(
    report: Report,
    thumbnails: Thumbnails,
    path: Path,
    *,
    previews: Mapping[str, bytes] | None = None,
) -> None:
    """Write `report` as one HTML file to `path`.

    `thumbnails` holds JPEG or WebP images as `thumbnail` makes them, `previews` images
    of frames by name; previews are left out where the file would grow too large.
    """
    page = report_to_html(report, report_sha256(report), thumbnails, previews or {})
    write_bytes(path, page.encode("utf-8", "replace"))


def report_to_html(
    report: Report, digest: str, thumbnails: Thumbnails, previews: Mapping[str, bytes]
) -> str:
    """Return the HTML of `report`; see `write_html`.

    `digest` is `report_sha256` of it, which corrections of the report will name.
    """
    style = _page_file("page.css")
    script = '"use strict";\n' + "\n".join(_page_file(f"{name}.js") for name in SCRIPTS)
    pictures = [
        _data_url(thumbnails.get((finding.frame, finding.number)))
        for finding in report.findings
    ]
    room = size_limit(len(pictures)) - sum(map(len, pictures)) - 600 * len(pictures)
    return Template(_page_file("page.html")).substitute(
        policy=_policy(style, script),
        title=html.escape(shown(report.name)),
        style=style,
        name=html.escape(shown(report.name)),
        facts=originsections.facts(report),
        notices=originsections.notices(report),
        differential=count_section(report),
        quality=originsections.fields_section(report),
        provenance=originsections.provenance_section(report, digest),
        data=_json(page_data(report, digest)),
        previews=_url_list(_fitting_previews(report, previews, room)),
        thumbnails=_url_list(pictures),
        script=script,
    )


def size_limit(cells: int) -> float:
    """Return the bytes that a file may have: 6 MB up to 500 cells, 40 MB at 5000."""
    return 6e6 + max(0, cells - 500) * (34e6 / 4500)


def _fitting_previews(
    report: Report, previews: Mapping[str, bytes], room: float
) -> list[str]:
    """Return a preview a frame, in order, as long as they fit; else an empty text."""
    pictures = []
    for frame in report.frames:
        picture = _data_url(previews.get(frame.name))
        picture = picture if len(picture) <= room else ""
        room -= len(picture)
        pictures.append(picture)
    return pictures


def _data_url(image: bytes | None) -> str:
    if not image:
        return ""
    kind = "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _url_list(urls: Iterable[str]) -> str:
    """Return JSON of the `urls` of `_data_url`, which hold nothing to be escaped."""
    return "[" + ",".join(f'"{url}"' for url in urls) + "]"


def _policy(style: str, script: str) -> str:
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'"
    )


def _source_hash(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _json(values: object) -> str:
    """Return JSON that no parser of HTML takes for markup."""
    text = json_line(values)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _page_file(name: str) -> str:
    page = files("cellrot_infer.writers") / "page" / name
    return page.read_text(encoding="utf-8")
