"""Inference is light: proven in fresh interpreters, with a control that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infer.images import FRAMES

HEAVY = {"torch", "sklearn", "scipy", "onnx", "matplotlib", "PIL", "cellrot_train"}
REPORT_MODULES = """
import json, sys
print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))
"""


def modules_after(code: str, *arguments: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", code + REPORT_MODULES, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


RUN = """
import sys
from cellrot_infer.cli import app
app(sys.argv[1:], standalone_mode=False)
"""


def test_a_whole_run_imports_nothing_heavy(tiny_model: Path, tmp_path: Path) -> None:
    loaded = modules_after(
        RUN, "slide", str(FRAMES / "bccd" / "BloodImage_00005.jpg"),
        "--model", str(tiny_model), "--out", str(tmp_path), "--report",
        "csv,json,html,geojson,overlay",
    )  # fmt: skip

    assert {"cellrot_infer", "cv2", "onnxruntime"} <= loaded  # it did run
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    "names", ["Classifier", "analyze", "read_frame", "segment", "certificate"]
)
def test_each_part_imports_nothing_heavy(names: str) -> None:
    assert modules_after(f"from cellrot_infer import {names}") & HEAVY == set()


def test_the_check_notices_a_heavy_import() -> None:
    assert modules_after("import cellrot_infer.cli, onnx") & HEAVY == {"onnx"}


@pytest.mark.parametrize("command", [[], ["slide"], ["models"], ["doctor"], ["bench"]])
def test_help_waits_for_no_library(command: list[str]) -> None:
    loaded = modules_after(
        "import sys\nfrom typer.testing import CliRunner\n"
        "from cellrot_infer.cli import app\n"
        "assert CliRunner().invoke(app, sys.argv[1:]).exit_code == 0\n",
        *command,
        "--help",
    )

    assert loaded & {"numpy", "cv2", "onnxruntime"} == set()


def test_the_package_imports_nothing_until_it_is_used() -> None:
    assert modules_after("import cellrot_infer") & {"numpy", "cv2"} == set()


def test_segment_is_the_function_whatever_was_imported_before() -> None:
    code = """
import cellrot_infer.pipeline
from cellrot_infer import segment
assert callable(segment), segment
"""
    assert "cellrot_infer" in modules_after(code)
