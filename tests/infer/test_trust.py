"""What a file says is data: it runs nothing, reaches no network and opens no file."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cellrot_infer.card import seal
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import ModelError
from cellrot_infer.review import apply_review
from cellrot_infer.writers.json import report_to_json
from tests.conftest import tiny_card, tiny_onnx, write_model
from tests.infer.images import FRAMES
from tests.infer.slides import slide
from tests.infer.test_review import SLIDE, row_of, save, table

PACKAGE = Path(__file__).parents[2] / "cellrot_infer"
# What runs code that it finds in data, by the name of the module or of the function.
RUNS_DATA = {"pickle", "shelve", "marshal", "dill", "joblib", "eval", "exec", "compile"}
OUTSIDE = ("../../escaped", "/tmp/escaped", "C:\\escaped", "\\\\host\\share\\escaped")


def names_used(tree: ast.AST) -> Iterator[str]:
    """Yield each module that is imported and each plain function that is called.

    Texts are yielded, too: one may be the name of a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Constant):
            yield str(node.value)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "pickle"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_inference_holds_nothing_that_runs_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert RUNS_DATA.isdisjoint(names_used(tree))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "f(allow_pickle=1)",
        "__import__('pickle')",
        "importlib.import_module('pickle')",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert not RUNS_DATA.isdisjoint(names_used(ast.parse(code)))


# Refuses what it watches, from inside the interpreter, where no library can avoid it.
GUARD = """
import sys
def refuse(event, _):
    if event.startswith(("socket.", "urllib.", "pickle.find_class")):
        raise RuntimeError("refused: " + event)
sys.addaudithook(refuse)
"""
COMMAND = f"{GUARD}\nfrom cellrot_infer.cli import main\nmain()\n"


def guarded(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter that refuses sockets and pickled objects."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Return where there is a model, an image, a report and a review of it."""
    (tmp_path / "out").mkdir()
    report, corrections = save(tmp_path, SLIDE, table(row_of(0, "blast")))
    _, _, trail = apply_review(report, corrections, tmp_path)
    return {
        "MODEL": write_model(tmp_path),
        "IMAGE": FRAMES / "bccd" / "BloodImage_00005.jpg",
        "FOLDER": FRAMES / "pbc_fields",
        "REPORT": report,
        "CORRECTIONS": corrections,
        "TRAIL": trail,
        "OUT": tmp_path / "out",
    }


@pytest.mark.parametrize(
    "command",
    [
        "slide IMAGE --model MODEL --out OUT --report csv,json,html,overlay",
        "watch FOLDER --model MODEL --out OUT --cells 1 --stop",
        "review apply REPORT CORRECTIONS --out OUT",
        "review check TRAIL",
        "models",
        "models --verify hnet-r0",
        "bench --model MODEL --threads 1 --seconds 0",
        "doctor --out OUT",
    ],
)
def test_no_command_opens_a_socket_or_a_pickle(
    command: str, places: dict[str, Path]
) -> None:
    run = guarded(COMMAND, *(places.get(word, word) for word in command.split()))

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import pickle; pickle.loads(b'cos\\nsystem\\n.')",
    ],
)
def test_the_guard_refuses_what_it_watches(code: str) -> None:
    assert "refused: " in guarded(GUARD + code).stderr


def kept_elsewhere(place: str) -> bytes:
    """Return a model that says that its weights are in the file `place`."""
    model = onnx.load_from_string(tiny_onnx())
    weights = next(each for each in model.graph.initializer if each.name == "weights")
    raw = numpy_helper.to_array(weights).tobytes()
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", str(len(raw)))):
        weights.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/tmp/weights.bin"])
def test_a_model_that_names_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for path in (tmp_path / "in" / "weights.bin", tmp_path / "weights.bin"):
        path.write_bytes(np.zeros((3, 3), np.float32).tobytes())
    sealed, _ = seal(kept_elsewhere(place), tiny_card())
    (tmp_path / "m.onnx").write_bytes(sealed)

    with pytest.raises(ModelError, match="names another file"):
        Classifier.load(tmp_path / "m.onnx", device="cpu")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_review_writes_beside_its_report_whatever_that_is_called(
    tmp_path: Path, name: str
) -> None:
    report = slide(12)
    findings = tuple(replace(each, frame=name) for each in report.findings)
    frames = tuple(replace(each, name=name) for each in report.frames)
    report = replace(report, name=name, frames=frames, findings=findings)
    (tmp_path / "a" / "b").mkdir(parents=True)
    path, corrections = tmp_path / "a" / "b" / "r.json", tmp_path / "a" / "b" / "c.csv"
    path.write_text(report_to_json(report), encoding="utf-8")
    corrections.write_text(table(row_of(0, "blast", report)), encoding="utf-8")

    apply_review(path, corrections, path.parent)

    files = {each.relative_to(tmp_path / "a" / "b") for each in tmp_path.rglob("*.*")}
    assert set(map(str, files)) == {
        "r.json", "c.csv", "r.reviewed.json", "r.audit.jsonl"
    }  # fmt: skip
