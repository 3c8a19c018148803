"""The whole study on a handful of real cells, and on from where it was stopped."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.images import read_image
from cellrot_train import cli, compare, turning
from cellrot_train.readout import averaged, model_of_encoder
from cellrot_train.run import new_encoder
from cellrot_train.study import handmade, measure
from cellrot_train.study.figures import figures_of
from cellrot_train.study.plan import Entry, Plan
from cellrot_train.study.record import Study
from cellrot_train.training import InterruptedRunError

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
PLAN = Plan(
    data=str(SAMPLES),
    models=("baseline", "hnet-r2"),
    objectives=("reconstruction",),
    seeds=1,
    epochs=1,
    side_px=32,
    settings={"embedding_size": 8},
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn and draw less often than a study does."""
    monkeypatch.setattr(turning, "ANGLES_DEG", (90, 135))
    monkeypatch.setattr(measure, "BUDGETS", (5,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished study that was stopped twice on its way."""
    folder = tmp_path_factory.mktemp("Studie ä")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "ANGLES_DEG", (90, 135))
        patch.setattr(measure, "BUDGETS", (5,))
        stop_at(patch, "measure_val", 2)
        with pytest.raises(InterruptedRunError, match="the same command goes on"):
            compare.compare(PLAN, folder)
        patch.undo()
        patch.setattr(turning, "ANGLES_DEG", (90, 135))
        patch.setattr(measure, "BUDGETS", (5,))
        stop_at(patch, "measure_final", 3)
        with pytest.raises(InterruptedRunError):
            compare.compare(PLAN, folder)
    return folder


def stop_at(patch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Make the function `name` of a study stop it, as Ctrl-C would, at a call."""
    usual, calls = getattr(compare, name), []

    def stopping(*arguments: object) -> object:
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return usual(*arguments)

    patch.setattr(compare, name, stopping)


@pytest.mark.slow
def test_a_stopped_study_goes_on_and_repeats_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Study.read(finished)
    assert stopped is not None
    tested = [key for key, record in stopped.records.items() if record.final]
    assert len(tested) == 2
    monkeypatch.setattr(compare.fitting, "fit", None)  # a training would fail
    monkeypatch.setattr(compare, "measure_val", None)

    study = compare.compare(PLAN, finished)

    assert [study.records[key] for key in tested] == [
        stopped.records[key] for key in tested
    ]
    assert all(record.final for record in study.records.values())
    assert {path.name for path in finished.iterdir()} == {
        "runs",
        "study.json",
        "study.md",
        *(f"{name}.png" for name in figures_of(study)),
    }
    page = (finished / "study.md").read_text(encoding="utf-8")
    for entry in PLAN.entries():
        assert entry.title in page


@pytest.mark.slow
def test_another_study_in_the_same_folder_is_refused(finished: Path) -> None:
    compare.compare(PLAN, finished)

    with pytest.raises(DataError, match="has read its test cells with other epochs"):
        compare.compare(replace(PLAN, epochs=2), finished)


def test_the_command_chooses_without_reading_test_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "measure_final", None)  # reading them would fail
    options = "--objectives reconstruction --epochs 1 --side-px 32 --models baseline"
    arguments = ["compare", "--data", str(SAMPLES), *options.split(), "--no-final"]
    arguments += ["--out", str(tmp_path / "study")]
    monkeypatch.setattr(sys, "argv", ["cellrot-train", *arguments])

    with pytest.raises(SystemExit) as stopped:
        cli.main()

    assert not stopped.value.code
    assert "study.md" in capsys.readouterr().out
    found = json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    assert {record["final"] for record in found["records"].values()} == {None}


def test_a_set_without_labels_is_refused(tmp_path: Path) -> None:
    for number, path in enumerate(sorted((SAMPLES / "blast").glob("*"))[:4]):
        (tmp_path / f"{number}.webp").write_bytes(path.read_bytes())

    with pytest.raises(DataError, match="has no labels, which a comparison"):
        compare.compare(replace(PLAN, data=str(tmp_path)), tmp_path / "out")


def cells() -> np.ndarray:
    files = sorted((SAMPLES / "platelet").iterdir())[:6]
    return np.stack([read_image(file.read_bytes(), file.name) for file in files])


@pytest.mark.parametrize("name", ["colours", "ring"])
def test_features_made_by_hand_do_not_know_the_angle(name: str) -> None:
    make = {"colours": handmade.colours_and_rings, "ring": handmade.outer_ring}[name]
    model, patches = make(64), cells()
    upright = model(patches).representations["features"]
    turned = model(np.rot90(patches, 1, (1, 2))).representations["features"]

    assert np.linalg.norm(upright - upright[::-1]) > 0.1
    np.testing.assert_allclose(turned, upright, atol=2e-2)


def test_the_ring_does_not_see_the_cell() -> None:
    patches = cells()
    hidden = patches.copy()
    hidden[:, 30:226, 30:226] = 255
    model = handmade.outer_ring(64)

    found = [model(images).representations["features"] for images in (patches, hidden)]
    other = handmade.colours_and_rings(64)
    seen = [other(images).representations["features"] for images in (patches, hidden)]

    assert np.abs(found[0] - found[1]).max() < 3
    assert np.abs(seen[0] - seen[1]).max() > 0.3


def test_averaging_over_turns_hides_the_angle_of_a_plain_encoder() -> None:
    encoder = new_encoder(PLAN.config(Entry("baseline"))).eval()
    plain = model_of_encoder(encoder, 32, compare.choose_device("cpu"))
    patches = cells()

    def change(model: compare.Model) -> float:
        pair = [
            model(images).representations["embedding"]
            for images in (patches, np.rot90(patches, 1, (1, 2)))
        ]
        return float(np.linalg.norm(pair[0] - pair[1]) / np.linalg.norm(pair[0]))

    assert change(plain) > 0.05
    assert change(averaged(plain, 8)) < 1e-4
