"""The whole study on a handful of real cells, and on from where it was stopped."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.images import read_image
from cellrot_infer.types import Patches
from cellrot_train import cli, compare, metrics, probe, turning
from cellrot_train import fit as fitting
from cellrot_train.data import PatchSet, load_patch_set
from cellrot_train.display import Silent
from cellrot_train.pixels import load_pixels
from cellrot_train.processes import choose_device
from cellrot_train.readout import Model, averaged, model_of_encoder
from cellrot_train.run import new_encoder
from cellrot_train.study import handmade, measure
from cellrot_train.study.figures import figures_of
from cellrot_train.study.plan import RING, Entry, Plan
from cellrot_train.study.record import Study
from cellrot_train.training import InterruptedRunError

SAMPLES = Path(__file__).parents[1] / "data" / "patches"
NAMES = ("band_neutrophil", "platelet", "segmented_neutrophil")
SPLITS = ["train"] * 10 + ["val"] * 6 + ["test"] * 8


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan of a study of 72 real cells."""
    folder = tmp_path_factory.mktemp("Zellen ä")
    with (folder / "index.csv").open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("path", "label", "split"))
        for name in NAMES:
            files = sorted((SAMPLES / name).iterdir())
            for file, split in zip(files, SPLITS, strict=False):
                shutil.copy(file, folder)
                rows.writerow((file.name, name, split))
    return Plan(
        data=str(folder),
        models=("baseline", "hnet-r2"),
        objectives=("reconstruction",),
        seeds=1,
        epochs=1,
        side_px=32,
        settings={"embedding_size": 8},
    )


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Turn and draw less often than a study does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "ANGLES_DEG", (90, 135))
        patch.setattr(measure, "BUDGETS", (5,))
        patch.setattr(probe, "DRAWS", 5)
        patch.setattr(metrics, "DRAWS", 50)
        yield


@pytest.fixture(scope="module")
def stopped(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that was stopped twice on its way."""
    folder = tmp_path_factory.mktemp("Studie ä")
    for name, call in (("measure_val", 2), ("measure_final", 3)):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, name, call)
            with pytest.raises(InterruptedRunError, match="the same command goes on"):
                compare.compare(plan, folder)
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


def test_features_are_whitened_from_training_cells_alone(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = load_pixels(load_patch_set(Path(plan.data)), plan.side_px)
    bench = compare.Bench(plan, tmp_path, pixels, choose_device("cpu"), Silent())
    asked: list[int] = []

    def decoded(_: PatchSet, rows: list[int], side_px: int) -> Patches:
        asked.extend(rows)
        return np.zeros((len(rows), side_px, side_px, 3), np.uint8)

    monkeypatch.setattr(compare, "decode_patches", decoded)

    assert bench.unlabelled.shape == (30, 64, 64, 3)
    assert sorted(asked) == pixels.patch_set.indices("train").tolist()


@pytest.mark.slow
def test_a_stopped_study_goes_on_and_repeats_nothing(
    plan: Plan, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Study.read(stopped)
    assert before is not None
    tested = [key for key, record in before.records.items() if record.final]
    assert len(tested) == 2
    monkeypatch.setattr(fitting, "fit", None)  # a training would fail
    monkeypatch.setattr(compare, "measure_val", None)

    study = compare.compare(plan, stopped)

    assert all(study.records[key] == before.records[key] for key in tested)
    assert all(
        "whitened" in probes
        for record in study.records.values()
        if record.final
        for probes in (record.val, record.final.probes)
    )
    assert all(record.final for record in study.records.values())
    assert {path.name for path in stopped.iterdir()} == {
        "runs",
        "study.json",
        "study.md",
        *(f"{name}.png" for name in figures_of(study)),
    }
    page = (stopped / "study.md").read_text(encoding="utf-8")
    for entry in plan.entries():
        assert entry.title in page or entry.model == RING
    with pytest.raises(DataError, match="has read its test cells with other epochs"):
        compare.compare(replace(plan, epochs=2), stopped)


@pytest.mark.slow
def test_the_command_chooses_without_reading_test_cells(
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compare, "measure_final", None)  # reading them would fail
    options = "--objectives contrastive --epochs 1 --side-px 32 --models baseline"
    options += " --rival-seeds 2"
    arguments = ["compare", "--data", plan.data, *options.split(), "--no-final"]
    arguments += ["--out", str(tmp_path / "study")]
    monkeypatch.setattr(sys, "argv", ["cellrot-train", *arguments])

    with pytest.raises(SystemExit) as stopped:
        cli.main()

    assert not stopped.value.code
    assert "study.md" in capsys.readouterr().out
    found = json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    assert {record["final"] for record in found["records"].values()} == {None}
    assert "baseline, trained turned | contrastive | 1" in found["records"]
    assert "baseline | contrastive | 1" not in found["records"]


def test_a_set_without_labels_is_refused(plan: Plan, tmp_path: Path) -> None:
    for file in sorted((SAMPLES / "platelet").iterdir())[:4]:
        shutil.copy(file, tmp_path)

    with pytest.raises(DataError, match="has no labels, which a comparison"):
        compare.compare(replace(plan, data=str(tmp_path)), tmp_path / "out")


def test_wrong_usage_of_the_command_is_told_as_such(
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["compare", "--data", plan.data, "--models", "resnet", "--out"]
    monkeypatch.setattr(sys, "argv", ["cellrot-train", *arguments, str(tmp_path)])

    with pytest.raises(SystemExit) as stopped:
        cli.main()

    assert stopped.value.code == 2
    assert "'resnet'" in capsys.readouterr().err


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
    hidden[:, 50:206, 50:206] = 255
    model = handmade.outer_ring(64)

    found = [model(images).representations["features"] for images in (patches, hidden)]
    other = handmade.colours_and_rings(64)
    seen = [other(images).representations["features"] for images in (patches, hidden)]

    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(seen[0] - seen[1]).max() > 0.3


def test_averaging_over_turns_hides_the_angle_of_a_plain_encoder(plan: Plan) -> None:
    config = plan.config(Entry("baseline"))
    plain = model_of_encoder(new_encoder(config).eval(), config, choose_device("cpu"))
    patches = cells()

    def change(model: Model) -> float:
        pair = [
            model(images).representations["embedding"]
            for images in (patches, np.rot90(patches, 1, (1, 2)))
        ]
        return float(np.linalg.norm(pair[0] - pair[1]) / np.linalg.norm(pair[0]))

    assert change(plain) > 0.05
    assert change(averaged(plain, 8)) < 1e-3  # turned bytes are rounded
