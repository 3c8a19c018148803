"""The commands evaluate, check and patches, as a user types them."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cellrot_train import cli

Run = Callable[..., tuple[int, str, str]]

DATA = Path(__file__).parents[1] / "data"
FRAME = DATA / "frames" / "bccd" / "BloodImage_00007.jpg"
SHARED_CLASSES = ("lymphocyte", "platelet")  # of the samples and the tiny model


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Return what runs a command in `tmp_path` and gives status, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cellrot-train", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capfd.readouterr()

    return call


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """Return a folder of class folders with ten real cells each."""
    for name in SHARED_CLASSES:
        folder = tmp_path / "Zellen ä" / name
        folder.mkdir(parents=True)
        for path in sorted((DATA / "patches" / name).iterdir())[:10]:
            shutil.copy(path, folder)
    return tmp_path / "Zellen ä"


def test_evaluate_measures_an_onnx_file(
    run: Run, tiny_model: Path, patches: Path, tmp_path: Path
) -> None:
    status, output, errors = run(
        "evaluate", tiny_model, "--data", patches, "--split", "all", "--no-few-labels"
    )

    assert (status, errors) == (0, "")
    assert "20 cells" in output
    assert "macro-F1" in output
    found = json.loads((tmp_path / "tiny-all" / "evaluation.json").read_text("utf-8"))
    assert found["model"]["name"] == "tiny"
    assert found["model"]["provider"] == "CPUExecutionProvider"
    assert found["data"]["split"] == "all"
    assert len(found["classifier"]["counts"]) == 3


def test_evaluate_wants_cells(run: Run, tiny_model: Path) -> None:
    status, _, errors = run("evaluate", tiny_model)

    assert status == 1
    assert errors == "error: tiny: give the cells to measure it on with --data\n"


def test_evaluate_refuses_classes_that_the_model_does_not_know(
    run: Run, tiny_model: Path
) -> None:
    status, _, errors = run("evaluate", tiny_model, "--data", DATA / "patches")

    assert status == 1
    assert "'band_neutrophil', expected one of lymphocyte, neutrophil" in errors


def test_evaluate_refuses_what_is_no_run(run: Run, tmp_path: Path) -> None:
    status, _, errors = run("evaluate", tmp_path)

    assert status == 1
    assert "no run" in errors
    assert errors.count("\n") == 1


def test_check_of_a_sound_set_is_content(run: Run) -> None:
    status, output, _ = run("check", DATA / "patches")

    assert status == 0
    assert "nothing to remark" in output


def test_check_fails_on_a_leak_and_writes_what_it_found(
    run: Run, patches: Path, tmp_path: Path
) -> None:
    first, *others = sorted((patches / "platelet").iterdir())
    copy = patches / "platelet" / "copy.webp"
    shutil.copy(first, copy)
    rows = [(f"platelet/{path.name}", "platelet", "train") for path in [first, *others]]
    rows.append(("platelet/copy.webp", "platelet", "test"))
    with (patches / "index.csv").open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("path", "label", "split"), *rows])

    status, output, _ = run("check", patches, "--out", tmp_path / "found.csv")

    assert status == 1
    assert "identical" in output
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as lines:
        found = next(row for row in csv.DictReader(lines) if row["serious"] == "yes")
    assert found["name"] == f"platelet/{first.name}"
    assert found["others"] == "platelet/copy.webp"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "no images; expected <label>/<image>"),
        (["blast/1.webp"], "class 'blast' has 1 image, expected at least 3"),
    ],
)
def test_check_says_in_one_line_why_a_set_is_none(
    run: Run, tmp_path: Path, files: list[str], expected: str
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir()
        shutil.copy(next((DATA / "patches" / "platelet").iterdir()), folder / name)

    status, output, errors = run("check", folder)

    assert (status, output) == (1, "")
    assert expected in errors
    assert errors.count("\n") == 1


def test_check_names_a_file_that_the_index_has_and_the_folder_not(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "index.csv").write_text("path,label\nlost.png,blast\n", "utf-8")

    status, _, errors = run("check", tmp_path)

    assert status == 1
    assert "1 of 1 files are missing, the first is lost.png" in errors


def test_patches_cuts_what_it_can_and_says_what_it_cannot(
    run: Run, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")

    status, output, errors = run("patches", FRAME, broken, "--out", "set")

    assert status == 3
    assert output == "set: 1 cells of 1 frames\n"
    assert "broken.jpg" in errors
    assert (tmp_path / "set" / "index.csv").is_file()


def test_patches_does_not_touch_a_folder_that_is_there(run: Run) -> None:
    status, _, errors = run("patches", FRAME, "--out", DATA / "patches")

    assert status == 1
    assert "holds something already; name a new folder with --out" in errors


@pytest.mark.parametrize("command", ["fit", "export"])
@pytest.mark.parametrize("name", ["../above", "a/b", "a\\b", "nul", "x" * 81])
def test_a_name_that_names_no_file_is_refused(
    run: Run, command: str, name: str
) -> None:
    status, output, errors = run(command, "--name", name)

    assert (status, output) == (2, "")
    words = errors.replace("│", "").split()  # they stand in a frame
    assert "names no file on every system" in " ".join(words)
