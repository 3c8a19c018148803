"""The doctor finds what is wrong with a workstation, and says the repair."""

import base64
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer import doctor, golden
from cellrot_infer.classify import Classifier
from cellrot_infer.doctor import Check, check_model, check_single, check_writable
from cellrot_infer.errors import ModelError
from cellrot_infer.images import read_image
from cellrot_infer.types import Patches, Predictions
from cellrot_infer.verify import verify
from tests.conftest import tiny_card, write_model
from tests.infer.images import SAMPLES

CELLS = sorted(SAMPLES.glob("lymphocyte/*.webp"))[:3]


def card_with_golden(folder: Path, **certificate: object) -> Path:
    """Write a tiny model whose card holds real cells and what it says of them."""
    classifier = Classifier.load(write_model(folder), device="cpu")
    patches = np.stack([read_image(path.read_bytes(), "") for path in CELLS])
    rows = classifier.classify(patches).probabilities.tolist()
    cells = [
        {"patch": base64.b64encode(path.read_bytes()).decode(), "probabilities": row}
        for path, row in zip(CELLS, rows, strict=True)
    ]
    return write_model(folder, card=tiny_card(golden=cells, certificate=certificate))


@pytest.mark.parametrize(
    ("installed", "repair"),
    [
        ({"onnxruntime-gpu": "1.31.1"}, ""),
        ({"onnxruntime": "1.31.1"}, ""),
        ({}, "pip install onnxruntime-gpu"),
        (
            {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"},
            "pip uninstall -y onnxruntime-gpu onnxruntime; pip install onnxruntime-gpu",
        ),
    ],
)
def test_two_wheels_of_one_library_are_found(
    installed: dict[str, str], repair: str
) -> None:
    assert check_single("runtime", doctor.RUNTIMES, installed).repair == repair


def test_two_opencvs_are_found_among_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "5.0.0")

    found = {check.subject: check for check in doctor.examine(Path())}

    assert "opencv-python-headless 5.0.0" in found["OpenCV"].finding
    assert found["OpenCV"].repair.endswith("; pip install opencv-python")


def test_a_library_that_does_not_load_is_told_with_its_repair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)

    checks = list(doctor.examine(Path()))

    (broken,) = [check for check in checks if check.repair]
    assert broken.subject == "cv2"
    assert "apt-get install libgl1" in broken.repair


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    assert check_writable(tmp_path).repair == ""
    assert check_writable(tmp_path / "gone").repair == "choose another with --out"


def test_a_sound_model_passes(tmp_path: Path) -> None:
    check = check_model(card_with_golden(tmp_path))

    assert check.repair == ""
    assert "3 golden cells differ by 0" in check.finding


def test_a_model_that_answers_otherwise_than_at_export_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = card_with_golden(tmp_path)
    monkeypatch.setattr(golden, "read_image", lambda *_: np.zeros((256, 256, 3), "u1"))

    check = check_model(path)

    assert "reinstall onnxruntime" in check.repair


def test_a_damaged_model_is_found(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])

    assert check_model(path).repair == "copy the file again from where it came"


def test_a_workstation_without_models_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLROT_MODELS", str(tmp_path))

    assert Check(
        "models", f"none in {tmp_path}", "pip install --force-reinstall cellrot"
    ) in list(doctor.check_models())


@pytest.mark.parametrize(
    "cell",
    [
        {},
        {"patch": "no base64!", "probabilities": [1, 0, 0]},
        {"patch": base64.b64encode(b"no image").decode(), "probabilities": [1, 0, 0]},
        {"patch": base64.b64encode(CELLS[0].read_bytes()).decode()},
        {
            "patch": base64.b64encode(CELLS[0].read_bytes()).decode(),
            "probabilities": [1],
        },
        {
            "patch": base64.b64encode(CELLS[0].read_bytes()).decode(),
            "probabilities": "x",
        },
        {
            "patch": base64.b64encode(CELLS[0].read_bytes()).decode(),
            "probabilities": ["nan", 0, 0],
        },
        {
            "patch": base64.b64encode(CELLS[0].read_bytes()).decode(),
            "probabilities": [3.4028235677973366e38, 0, 0],  # rounds to infinity
        },
        {"patch": "\u00a1", "probabilities": [1, 0, 0]},
    ],
)
def test_a_damaged_golden_cell_is_told(tmp_path: Path, cell: dict[str, object]) -> None:
    path = write_model(tmp_path, card=tiny_card(golden=[cell]))

    with pytest.raises(ModelError):
        golden.golden_error(Classifier.load(path, device="cpu"))


def test_golden_cells_that_differ_in_length_are_told(tmp_path: Path) -> None:
    patch = base64.b64encode(CELLS[0].read_bytes()).decode()
    cells = [{"patch": patch, "probabilities": row} for row in ([1, 0, 0], [1, 0])]
    path = write_model(tmp_path, card=tiny_card(golden=cells))

    with pytest.raises(ModelError, match="a golden cell has 2 probabilities, expect"):
        golden.golden_error(Classifier.load(path, device="cpu"))


def certificate(quarter_turn: float) -> dict[str, object]:
    turns = {"quarter_turn_max_abs": quarter_turn, "quarter_turn_embedding": 0.0}
    return {**turns, "flips": [0.0], "spread": [0.0]}


def test_a_model_that_does_not_turn_is_verified(tmp_path: Path) -> None:
    path = card_with_golden(tmp_path, **certificate(1e-6))

    found = list(verify(Classifier.load(path, device="cpu")))

    assert [each.holds for each in found] == [True, True, True, None, None]


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("flips", [""]),
        ("flips", [None]),
        ("spread", {"0": 1}),
        pytest.param("quarter_turn_max_abs", 10**400, id="too large for a float"),
    ],
)
def test_a_certificate_of_no_figures_is_told(
    tmp_path: Path, figure: str, value: object
) -> None:
    path = card_with_golden(tmp_path, **{**certificate(1e-6), figure: value})

    with pytest.raises(ModelError, match=f"the certificate has no {figure}"):
        list(verify(Classifier.load(path, device="cpu")))


def test_a_certificate_that_does_not_hold_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = card_with_golden(tmp_path, **certificate(1e-6))
    classifier = Classifier.load(path, device="cpu")
    run = classifier.classify

    def of_one_corner(patches: Patches) -> Predictions:
        return run(patches[:, :64, :64].repeat(4, 1).repeat(4, 2))

    monkeypatch.setattr(classifier, "classify", of_one_corner)

    holds = {each.figure: each.holds for each in verify(classifier)}

    assert holds["quarter turns, probability"] is False


def test_a_card_without_golden_cells_cannot_be_verified(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no golden cells to verify"):
        list(verify(Classifier.load(tiny_model, device="cpu")))
