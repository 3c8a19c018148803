"""Figures hold what they are given, and are written whole or not at all."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from cellrot_infer.errors import OutputError
from cellrot_train import figures
from cellrot_train.confidence import reliability, risk_coverage
from cellrot_train.figures import Curve, Strip
from cellrot_train.metrics import Estimate


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text)}


def test_a_figure_is_a_png_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "Kurven für Änne.png"

    figures.save(figures.draw_history([{"epoch": 1, "loss": 0.5}]), path)

    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert len(np.unique(image)) > 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    figure = figures.draw_history([{"epoch": 1, "loss": 0.5}])

    with pytest.raises(OutputError, match=r"none.a\.png: cannot be written"):
        figures.save(figure, tmp_path / "none" / "a.png")


def test_the_history_shows_what_it_has() -> None:
    plain = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    full = [row | {"val_macro_f1": 0.5, "val_accuracy": 0.6} for row in plain]

    assert len(figures.draw_history(plain).axes) == 1
    drawn = figures.draw_history(full)
    assert len(drawn.axes) == 2
    assert {"training", "macro-F1", "accuracy", "epoch"} <= texts(drawn)
    (line,) = drawn.axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [2.0, 1.0]


def test_a_score_of_some_epochs_only_stays_at_its_epochs() -> None:
    history = [
        {"epoch": 1, "loss": 2.0},
        {"epoch": 2, "loss": 1.0, "val_macro_f1": 0.5},
    ]

    (line,) = figures.draw_history(history).axes[1].lines

    assert np.asarray(line.get_xdata()).tolist() == [2]


def test_the_confusion_matrix_shows_counts_and_names_as_they_are() -> None:
    names = ("band_neutrophil", "cost $5 or $6", "blast")
    counts = np.array([[30, 2, 0], [0, 41, 0], [0, 0, 0]])  # no blast at all

    drawn = figures.draw_confusion(counts, names, "test")

    assert {"30", "2", "41", "band neutrophil", "cost $5 or $6", "test"} <= texts(drawn)
    assert "0" not in texts(drawn)
    drawn.canvas.draw()  # a dollar must not be read as mathematics


def test_strips_of_unequal_length_are_shown() -> None:
    images = np.zeros((3, 16, 16, 3), np.uint8)

    drawn = figures.draw_strips([Strip("cell", images), Strip("made", images[:2])])

    assert len(drawn.axes) == 6
    assert sum(bool(axes.images) for axes in drawn.axes) == 5
    assert {"cell", "made"} <= texts(drawn)


def test_confidence_and_rotation_are_drawn() -> None:
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0.4, 1, 300)
    correct = chance.random(300) < confidence
    found, curve = reliability(confidence, correct), risk_coverage(confidence, correct)

    drawn = figures.draw_confidence(found, curve)

    assert f"calibration error {found.error:.3f}" in texts(drawn)
    angles, band = [0, 180, 360], [Estimate(0.1, 0.0, 0.2)] * 3
    panels = {
        "flips": {"a": Curve(angles, [0, 0.1, 0], band), "b": Curve(angles, [0, 0, 0])}
    }
    rotation = figures.draw_rotation(panels)
    assert {"flips", "a", "b"} <= texts(rotation)
    assert len(rotation.axes[0].collections) == 1  # the band of `a`
