"""A package for bioimage.io is one that its own tools run, without a network."""

import io
import json
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellrot_infer.card import ModelCard, seal
from cellrot_infer.types import Patches
from cellrot_train.bioimageio import check_terms, package, try_out, zipped
from cellrot_train.graph import open_session
from cellrot_train.measured import golden_cells
from cellrot_train.promises import ExportError
from tests.conftest import CLASS_NAMES, tiny_card, tiny_onnx

# its reader leaves files open
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

CREDIT = "Acevedo A et al., Data in Brief 30 (2020), doi:10.1016/j.dib.2020.105474"
FIGURES = {
    "macro_f1": [0.9, 0.8, 1.0],
    "expected_calibration_error": 0.01,
    "uncalibrated_error": 0.02,
    "cells": 88,
}
CERTIFICATE = {"quarter_turn_max_abs": 1e-7, "flips": [0.0], "spread": [0.0]}


def patches() -> Patches:
    return np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)


def model_and_card(**changes: object) -> tuple[bytes, ModelCard]:
    """Return a sealed model with all that a card has after an export."""
    values: dict[str, Any] = {
        "licence": "CC BY 4.0",
        "data": {"credit": CREDIT},
        "metrics": {"val": FIGURES, "test": FIGURES},
        "certificate": CERTIFICATE,
        "versions": {"opset": "18"},
        "golden": golden_cells(open_session(tiny_onnx()), patches()),
    }
    return seal(tiny_onnx(), tiny_card(**(values | changes)))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def content() -> bytes:
    pytest.importorskip("bioimageio.core", reason="the extra `bioimageio` is missing")
    return package(*model_and_card(), ["A. Author"])


@pytest.mark.usefixtures("no_network")
def test_the_tools_of_bioimage_io_run_the_package(
    content: bytes, tmp_path: Path
) -> None:
    from bioimageio.core import test_model as run_package

    path = tmp_path / "Größe.zip"
    path.write_bytes(content)

    verdict = run_package(path, devices=["CPUExecutionProvider"])

    assert verdict.status == "passed"
    assert "reproduce" in str([detail.name for detail in verdict.details]).lower()


def test_the_package_says_who_made_it_of_what_and_for_which_classes(
    content: bytes,
) -> None:
    archive = zipfile.ZipFile(io.BytesIO(content))
    description = json.loads(archive.read("rdf.yaml"))

    assert description["license"] == "CC-BY-4.0"
    assert description["authors"] == [{"name": "A. Author"}]
    assert description["cite"] == [{"text": CREDIT, "doi": "10.1016/j.dib.2020.105474"}]
    probabilities = description["outputs"][0]
    assert probabilities["axes"][1]["channel_names"] == list(CLASS_NAMES)
    assert "macro-F1 0.900 (0.800 to 1.000)" in archive.read("README.md").decode()


@pytest.mark.usefixtures("no_network")
def test_a_package_that_answers_otherwise_is_refused(content: bytes) -> None:
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {name: archive.read(name) for name in archive.namelist()}
    files["probabilities.npy"] = files["probabilities.npy"][:-4] + b"\0\0\0\0"

    with pytest.raises(ExportError, match=r"bioimage\.io refuses the package: .*proba"):
        try_out(zipped(files))


@pytest.mark.parametrize("licence", ["not stated", "CC BY 9.9"])
def test_a_licence_that_nobody_knows_is_refused_before_the_work(licence: str) -> None:
    pytest.importorskip("bioimageio.core", reason="the extra `bioimageio` is missing")

    check_terms("CC BY 4.0")
    with pytest.raises(ExportError, match=f"--licence '{licence}' is not in SPDX's"):
        check_terms(licence)


def test_without_the_tools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bioimageio.core", None)

    with pytest.raises(ExportError, match=r"pip install 'cellrot\[bioimageio\]'"):
        check_terms("CC BY 4.0")
