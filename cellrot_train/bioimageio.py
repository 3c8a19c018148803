"""An exported file as a package of bioimage.io: a zip that its tools know how to run.

In it lie the ONNX file as it is, a description of what it takes and gives, its golden
cells as test input with the test output, a cover and a README. The tools of bioimage.io
run the package before it is given out: what they refuse is never written.

Format: https://github.com/bioimage-io/spec-bioimage-io (model, version 0.5).
"""

import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cellrot_infer.card import ModelCard
from cellrot_infer.golden import golden_patches
from cellrot_infer.types import PATCH_SIDE_PX, Patches, Predictions
from cellrot_train.export import summary
from cellrot_train.graph import open_session
from cellrot_train.measured import classify
from cellrot_train.promises import ExportError

COLOURS = ["red", "green", "blue"]
TAGS = ["2d", "cells", "pytorch", "image-classification", "other", "haematology"]
HARMONIC_NETS = {
    "text": "Worrall et al., Harmonic Networks, CVPR 2017",
    "doi": "10.48550/arXiv.1612.04642",
}
DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
README = """\
# {name}

The type of a blood or bone marrow cell. `patches` are RGB bytes that show one cell in
the middle, {pixel_size_um:g} um a pixel. `probabilities` are calibrated. A cell whose
`novelty` is above {novelty:.3g} is unlike those of the training.

Learned from: {credit}. Licence: {licence}. For research use only.

## Validation
Of the file itself:

{figures}

Classify labelled cells of your laboratory and compare; expect less than this.
"""


def check_terms(licence: str) -> None:
    """Raise ExportError where the extra is missing, or `licence` is unknown to SPDX."""
    # warnings of what is optional would be logged to stderr
    os.environ.setdefault("BIOIMAGEIO_LOG_WARNINGS", "false")
    try:
        import bioimageio.core  # noqa: F401
        from bioimageio.spec.model.v0_5 import LicenseId
    except ModuleNotFoundError:
        raise ExportError(
            "--format bioimageio: pip install 'cellrot[bioimageio]' first"
        ) from None
    try:
        LicenseId(spdx(licence))
    except ValueError:
        raise ExportError(
            f"--licence {licence!r:.60} is not in SPDX's list, https://spdx.org/licenses;"
            " for bioimage.io give one that is, such as 'CC BY 4.0'"
        ) from None


def spdx(licence: str) -> str:
    """Return a licence as SPDX writes it."""
    return licence.replace(" ", "-")


def package(model: bytes, card: ModelCard, authors: Sequence[str]) -> bytes:
    """Return the zip of the sealed `model`; `authors` are the names of its makers.

    Raises ExportError where the tools of bioimage.io are missing or refuse it.
    """
    check_terms(card.licence)
    patches = golden_patches(card)
    outputs = outputs_of(classify(open_session(model), patches))
    files = {
        f"{card.name}.onnx": model,
        "README.md": readme(card).encode(),
        "cover.png": cover(patches),
        "patches.npy": npy(patches),
        **{f"{name}.npy": npy(value) for name, value in outputs.items()},
    }
    description = {
        **about(card, authors),
        "inputs": [input_tensor(card)],
        "outputs": [output_tensor(n, v, card) for n, v in outputs.items()],
    }
    files["rdf.yaml"] = json.dumps(description, indent=1, ensure_ascii=False).encode()
    content = zipped(files)
    try_out(content)
    return content


def try_out(content: bytes) -> None:
    """Have bioimageio.core run the package; raise ExportError where it is refused."""
    from bioimageio.core import test_model

    # it keeps the file open, and Windows the folder then
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "package.zip"
        path.write_bytes(content)
        verdict = test_model(path, devices=["CPUExecutionProvider"])
    if verdict.status != "passed":
        errors = (error.msg for part in verdict.details for error in part.errors)
        reason = " ".join(next(errors, verdict.status).split())
        raise ExportError(f"bioimage.io refuses the package: {reason:.300}")


def about(card: ModelCard, authors: Sequence[str]) -> dict[str, Any]:
    """Return what the description says of the whole: makers, licence, weights."""
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": f"cellrot {card.name}",
        "description": "The type of a blood or bone marrow cell, at whatever angle",
        "authors": [{"name": name} for name in authors],
        "cite": list(citations(card)),
        "license": spdx(card.licence),
        "documentation": "README.md",
        "covers": ["cover.png"],
        "tags": TAGS,
        "timestamp": card.created,
        "weights": {
            "onnx": {
                "source": f"{card.name}.onnx",
                "opset_version": int(card.versions["opset"]),
            }
        },
    }


def citations(card: ModelCard) -> Iterator[dict[str, str]]:
    """Yield what to cite: the data, where the credit has a DOI, and the method."""
    credit = str(card.data.get("credit", ""))
    if doi := DOI.search(credit):
        yield {"text": credit, "doi": doi[0]}
    if card.encoder.startswith("hnet"):
        yield HARMONIC_NETS


def input_tensor(card: ModelCard) -> dict[str, Any]:
    """Return the description of the patches."""
    side = {"type": "space", "size": PATCH_SIDE_PX, "unit": "micrometer"}
    sides = [{**side, "id": each, "scale": card.pixel_size_um} for each in "yx"]
    return {
        "id": "patches",
        "axes": [{"type": "batch"}, *sides, channels(COLOURS)],
        "data": {"type": "uint8"},
        "test_tensor": {"source": "patches.npy"},
    }


def output_tensor(name: str, values: np.ndarray, card: ModelCard) -> dict[str, Any]:
    """Return the description of one output, `values` (N, ...) of the test cells."""
    axes: list[dict[str, Any]] = [{"type": "batch"}]
    if name == "probabilities":
        axes.append(channels(list(card.class_names)))
    elif values.ndim > 1:
        axes.append({"type": "index", "size": values.shape[1]})
    test = {"source": f"{name}.npy"}
    return {"id": name, "axes": axes, "test_tensor": test}


def channels(names: list[str]) -> dict[str, Any]:
    """Return the description of an axis with a name for each place."""
    return {"type": "channel", "channel_names": names}


def outputs_of(predictions: Predictions) -> dict[str, np.ndarray]:
    """Return the value of each output, in the order of the file."""
    values = {
        each.name: getattr(predictions, each.name) for each in fields(predictions)
    }
    return {name: value for name, value in values.items() if value is not None}


def readme(card: ModelCard) -> str:
    """Return the documentation of the package."""
    return README.format(
        name=card.name,
        pixel_size_um=card.pixel_size_um,
        novelty=card.thresholds.novelty,
        credit=card.data.get("credit") or "not stated",
        licence=card.licence,
        figures="\n".join(f"- {line}" for line in summary(card)),
    )


def cover(patches: Patches) -> bytes:
    """Return a PNG of eight cells, twice as wide as high."""
    rows = np.resize(patches, (2, 4, *patches.shape[1:]))
    picture = rows.swapaxes(1, 2).reshape(2 * PATCH_SIDE_PX, 4 * PATCH_SIDE_PX, 3)
    _, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    return data.tobytes()


def npy(values: np.ndarray) -> bytes:
    """Return `values` as the content of an .npy file."""
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of `files` by name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()
