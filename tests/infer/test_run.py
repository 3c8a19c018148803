"""A run counts its steps, and shows them only to somebody who waits."""

from pathlib import Path

import pytest

from cellrot_infer import terminal
from cellrot_infer.classify import Classifier
from cellrot_infer.lineages import read_scheme
from cellrot_infer.run import Request, Run, find_slides
from tests.infer.images import FRAMES


def test_every_image_is_a_step_also_a_bad_one(tmp_path: Path, tiny_model: Path) -> None:
    steps: list[None] = []
    inputs = [FRAMES / "pbc_fields", tmp_path / "gone.png"]
    request = Request(("csv",), tmp_path, read_scheme(), pixel_size_um=0.1)
    classifier = Classifier.load(tiny_model, device="cpu")

    run = Run(classifier, request, lambda: steps.append(None))
    (fields, files), (gone, nothing) = run.slides(find_slides(inputs))

    assert len(steps) == 7
    assert (len(fields.frames), len(fields.failures)) == (6, 0)
    assert {file.suffix for file in files} == {".csv"}
    assert (len(gone.frames), len(gone.failures), nothing) == (0, 1, [])


def test_a_report_says_how_the_pixel_size_came_about(
    tmp_path: Path, tiny_model: Path
) -> None:
    classifier = Classifier.load(tiny_model, device="cpu")
    image = FRAMES / "pbc_fields" / "BA_10387.jpg"

    for told, words in ((None, "automatic"), (0.1, "0.1 um")):
        request = Request(("csv",), tmp_path, read_scheme(), pixel_size_um=told)
        ((report, _),) = Run(classifier, request).slides(find_slides([image]))
        assert dict(report.provenance.settings)["pixel size"] == words


def test_a_bar_shows_on_a_terminal_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes rich believe in a terminal
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)

    with terminal.ProgressBar(2) as bar:
        bar.advance()
        bar.clear()

    printed = capsys.readouterr()
    assert "1/2" in printed.err
    assert printed.out == ""


def test_no_bar_shows_when_it_is_quick_or_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal.ProgressBar(1) as bar:
        monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)
        bar.advance()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(terminal, "PATIENCE_S", 60.0)
    with terminal.ProgressBar(1) as bar:
        bar.advance()

    assert capsys.readouterr() == ("", "")
