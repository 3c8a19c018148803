"""A study says what was measured: nothing chosen on test cells, nothing left out."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer.errors import DataError
from cellrot_infer.types import Floats
from cellrot_train.config import ConfigError
from cellrot_train.metrics import Estimate
from cellrot_train.protocol import Protocol, run_protocol
from cellrot_train.study import plan as plans
from cellrot_train.study.claims import Claim, claims
from cellrot_train.study.figures import draw_bars, draw_budgets
from cellrot_train.study.measure import asymmetry
from cellrot_train.study.page import write_page
from cellrot_train.study.plan import BUDGETS, FEW, HANDMADE, RING, Entry, Plan, regime
from cellrot_train.study.record import Final, Painting, Record, Study, open_study
from cellrot_train.study.summary import (
    READOUTS,
    Question,
    best_on_val,
    difference,
    lines,
    macro_f1,
    over_seeds,
    rows_of,
)

NAMES = ("band_neutrophil", "blast", "segmented_neutrophil")
LABELS = np.repeat(np.arange(3), 30)
ABOUT = {
    "class_names": list(NAMES),
    "cells": {"train": 100, "val": 30, "test": 60},
    "slides_known": False,
    "parameters": {"baseline": {"all": 1000, "encoder": 600}},
    "alike_across_splits": 3,
}


def plan(**changes: object) -> Plan:
    values = {
        "data": "cells",
        "models": ("baseline", "hnet-r2"),
        "objectives": ("reconstruction",),
        "seeds": 2,
        "epochs": 1,
        "side_px": 32,
    }
    return Plan(**(values | changes))  # type: ignore[arg-type]


def probes(quality: float, seed: int = 0) -> dict[str, Protocol]:
    """Return tables of vectors that tell the classes the better, the higher it is."""
    chance = np.random.default_rng(seed)
    centres: Floats = quality * np.eye(3, 4, dtype=np.float32)[LABELS]
    vectors = (centres + chance.normal(size=(90, 4))).astype(np.float32)
    views = {"original": vectors, "turned": vectors}
    counted = np.arange(90) % 3 > 0
    table = run_protocol(views, LABELS, NAMES, counted=counted, budgets=(5,))
    return {name: table for name in READOUTS}


@pytest.fixture(scope="module")
def tables() -> Mapping[str, dict[str, Protocol]]:
    return {"good": probes(4.0), "poor": probes(1.0)}


def study_of(
    tables: Mapping[str, dict[str, Protocol]], good: str = "hnet-r2", **changes: object
) -> Study:
    """Return a finished study in which the entries of the model `good` are good."""
    made = plan(**changes)
    study = Study(made, ABOUT, labels=(0, 1))
    for entry in made.entries():
        table = tables["good" if entry.model == good else "poor"]
        painting = Painting(0.1, 0.5, 0.8) if entry.reconstructs else None
        final = Final(table, painting=painting)
        study = study.with_record(Record(entry, "run", 1.0, table, final))
    return study


def test_every_model_meets_the_same_objectives_and_seeds() -> None:
    trained = [e for e in plan().entries() if e.objective and not e.averaged]

    assert len(trained) == 2 * (2 + 1)  # the baseline is also trained turned
    assert {e.seed for e in trained} == {0, 1}
    assert {e.model for e in trained if e.turned} == {"baseline"}


def test_rivals_meet_on_more_seeds_where_nothing_is_painted() -> None:
    models = ("baseline", "stn", "hnet-r0", "hnet-r2")
    objectives = ("reconstruction", "contrastive", "semi-supervised")
    wide = plan(models=models, objectives=objectives, rival_seeds=4)
    more = [entry for entry in wide.entries() if entry.seed >= wide.seeds]

    assert {entry.seed for entry in more} == {2, 3}
    assert {(e.title, e.objective) for e in more} == {
        ("baseline, trained turned", "contrastive"),
        ("hnet-r0", "contrastive"),
        ("hnet-r2", "contrastive"),
    }


def test_fewer_rival_seeds_than_seeds_change_nothing() -> None:
    assert plan(rival_seeds=1).entries() == plan().entries()


def test_all_controls_are_in_the_table() -> None:
    titles = {entry.title for entry in plan().entries()}

    assert {"random baseline", "random hnet-r2", *HANDMADE, RING} <= titles
    assert "baseline, mean of 8 turns" in titles
    assert "baseline, trained turned, mean of 8 turns" in titles


def test_only_turned_trainings_turn_their_images() -> None:
    trained = [entry for entry in plan().entries() if entry.objective]

    for entry in trained:
        assert plan().config(entry).rotate == entry.turned


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive", "masked"])
def test_without_labels_batches_do_not_know_the_classes(objective: str) -> None:
    config = plan().config(Entry("hnet-r2", objective))

    assert config.balance == 0
    assert not config.refit  # to labels that nobody asks for
    assert regime(objective) == "purely unsupervised"


def test_few_labels_are_few() -> None:
    config = plan().config(Entry("hnet-r2", FEW))

    assert config.labels_per_class == 20
    assert regime(FEW) == FEW
    assert regime("supervised") == "supervised"


def test_the_transformer_is_told_to_follow_a_turn() -> None:
    assert "orientation" in plan().config(Entry("stn", "contrastive")).objective


@pytest.mark.parametrize("name", BUDGETS)
def test_the_budgets_can_be_trained(name: str) -> None:
    usual = BUDGETS[name]
    made = plan(objectives=usual.objectives, side_px=usual.side_px)

    trained = [entry for entry in made.entries() if entry.objective]
    assert {made.config(entry).side_px for entry in trained} == {usual.side_px}


def test_models_of_other_sizes_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(plan().sizes()) == {"baseline", "hnet-r2"}
    monkeypatch.setattr(plans, "MAX_SIZE_RATIO", 1.0001)

    with pytest.raises(ConfigError, match="expected a difference of at most a tenth"):
        plan().sizes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"models": ("resnet",)}, "models has 'resnet', expected some of baseline"),
        ({"objectives": ("magic",)}, "objective has 'magic'"),
        ({"settings": {"seed": 3}}, "seed is decided by the study"),
        ({"settings": {"tempo": 3}}, "unknown setting 'tempo'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    changes: dict[str, object], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        plan(**changes)


def test_only_counted_cells_are_scored(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    assert tables["good"]["embedding"].cells == 60


def test_a_study_is_the_same_after_its_file(
    tables: Mapping[str, dict[str, Protocol]], tmp_path: Path
) -> None:
    study_of(tables).write(tmp_path)
    once = (tmp_path / "study.json").read_bytes()
    found = Study.read(tmp_path)
    assert found is not None

    found.write(tmp_path)

    assert (tmp_path / "study.json").read_bytes() == once
    assert len(found.records) == len(plan().entries())


def test_figures_of_test_cells_are_never_replaced(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    study = study_of(tables)
    record = next(iter(study.records.values()))

    with pytest.raises(ValueError, match="has been tested already"):
        study.with_record(replace(record, final=None))


def test_a_study_grows_until_it_has_read_its_test_cells(
    tables: Mapping[str, dict[str, Protocol]], tmp_path: Path
) -> None:
    Study(plan(), ABOUT).write(tmp_path)
    assert open_study(tmp_path, plan(seeds=3), ABOUT).plan.seeds == 3

    study_of(tables).write(tmp_path)
    with pytest.raises(DataError, match="has read its test cells with other seeds"):
        open_study(tmp_path, plan(seeds=3), ABOUT)


def test_a_study_never_changes_what_it_trains_with(tmp_path: Path) -> None:
    Study(plan(), ABOUT).write(tmp_path)

    with pytest.raises(DataError, match="has begun with other epochs, sha256"):
        open_study(tmp_path, plan(epochs=9, sha256="other"), ABOUT)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": 1}', '{"schema": 1, "plan": 3}']
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text, encoding="utf-8")

    with pytest.raises(DataError, match=r"study\.json: cannot be read"):
        Study.read(tmp_path)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"schema": 99}), encoding="utf-8")

    with pytest.raises(DataError, match="a study of schema 99, this version reads 1"):
        Study.read(tmp_path)


def test_intervals_are_over_seeds_and_folds() -> None:
    steady = over_seeds([[0.5] * 5] * 3)
    shaky = over_seeds([[0.4] * 5, [0.5] * 5, [0.6] * 5])

    assert steady == (0.5, 0.5, 0.5)
    assert shaky.low == pytest.approx(0.4)
    assert shaky.high == pytest.approx(0.6)


def test_a_difference_is_paired(tables: Mapping[str, dict[str, Protocol]]) -> None:
    study = study_of(tables)
    harmonic, plain = Entry("hnet-r2", "reconstruction"), Entry("random")
    found = difference(study, harmonic, harmonic, "embedding", Question())

    assert found == (0, 0, 0)
    assert difference(study, harmonic, plain, "embedding", Question()) is None


def test_a_difference_is_over_the_seeds_that_both_have(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    study = study_of(tables, objectives=("contrastive",), seeds=1, rival_seeds=3)
    harmonic = Entry("hnet-r2", "contrastive")
    rival, plain = Entry("baseline", "contrastive", turned=True), Entry("baseline", "")
    poorer = probes(0.5, seed=1)
    last = replace(rival, seed=2)
    found = replace(study.records[last.key], final=Final(poorer))
    changed = replace(study, records={**study.records, last.key: found})

    def ahead(study: Study, other: Entry) -> Estimate | None:
        return difference(study, harmonic, other, "features", Question())

    assert set(rows_of(study, harmonic, "features", Question())) == {0, 1, 2}
    assert ahead(changed, rival) != ahead(study, rival)
    assert ahead(study, plain) is not None


def test_choices_go_by_validation_cells_alone(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    study = study_of(tables, seeds=1)
    good, poor = lines(study, "reconstruction")[2], lines(study, "reconstruction")[0]
    swapped = {
        **study.records,
        good.key: replace(study.records[good.key], val=tables["poor"]),
        poor.key: replace(study.records[poor.key], val=tables["good"]),
    }

    assert best_on_val(study, (good, poor), "embedding") == good
    chosen = best_on_val(replace(study, records=swapped), (good, poor), "embedding")
    assert chosen == poor


def test_a_claim_falls_short_where_it_does(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    verdicts = {
        good: [claim.verdict for claim in claims(study_of(tables, good), "embedding")]
        for good in ("hnet-r2", "baseline")
    }

    assert verdicts["hnet-r2"][0] == "aim reached"
    assert verdicts["baseline"][0] == "**falls short**"
    assert len(verdicts["hnet-r2"]) == 15
    assert verdicts["hnet-r2"].count("told") == 1  # the flips of the rival


@pytest.mark.parametrize(
    ("found", "sign", "expected"),
    [
        (None, 1, "not measured"),
        (0.4, 1, "**falls short**"),
        (0.6, 1, "reached"),
        (0.8, 1, "aim reached"),
        (0.6, -1, "**falls short**"),
    ],
)
def test_a_verdict_follows_the_figure(
    found: float | None, sign: int, expected: str
) -> None:
    aim = 0.7 if sign > 0 else 0.3

    assert Claim("", 0.5, aim, found, "score", sign=sign).verdict == expected


def test_the_page_is_made_of_the_file_alone(
    tables: Mapping[str, dict[str, Protocol]], tmp_path: Path
) -> None:
    study = study_of(tables)
    study.write(tmp_path)
    known = Study.read(tmp_path)
    assert known is not None

    write_page(known, tmp_path)

    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    harmonic = macro_f1(
        known, Entry("hnet-r2", "reconstruction"), "embedding", Question()
    )
    assert harmonic is not None
    assert "**Yes.**" in text
    assert f"reaches a macro-F1 of {harmonic.value:.3f}" in text
    assert "3 pairs of images" in text
    assert "- Seeds: 2. Epochs: 1" in text
    assert "--seeds 2 \\\n" in text


def test_the_page_tells_of_more_seeds(
    tables: Mapping[str, dict[str, Protocol]], tmp_path: Path
) -> None:
    write_page(study_of(tables, objectives=("contrastive",), rival_seeds=3), tmp_path)

    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "Seeds: 2; 3 of the harmonic networks and of the baseline" in text
    assert "--seeds 2 --rival-seeds 3 \\\n" in text
    assert "| random hnet-r2 |" in text
    assert "| not measured |" in text  # no angle is known here, and the row stays


def test_a_page_without_the_test_says_so(
    tables: Mapping[str, dict[str, Protocol]], tmp_path: Path
) -> None:
    study = study_of(tables)
    records = {key: replace(r, final=None) for key, r in study.records.items()}

    write_page(replace(study, records=records), tmp_path)

    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "No test cell has been read yet" in text
    assert "Read from" not in text


def test_bars_and_curves_show_what_was_found(
    tables: Mapping[str, dict[str, Protocol]],
) -> None:
    study = study_of(tables)
    entry = lines(study, "reconstruction")[0]
    found = macro_f1(study, entry, "embedding", Question())
    assert found is not None

    bars = draw_bars(study).axes[1].patches
    curve = draw_budgets(study).axes[0].lines[0]

    assert bars[0].get_height() == pytest.approx(found.value)  # type: ignore[attr-defined]
    assert np.asarray(curve.get_ydata())[-1] == pytest.approx(found.value)


def test_no_two_curves_look_alike(tables: Mapping[str, dict[str, Protocol]]) -> None:
    study = study_of(tables, models=("baseline", "stn", "hnet-r0", "hnet-r2"))

    curves = draw_budgets(study).axes[0].lines

    assert len(curves) == 7
    assert len({curve.get_color() for curve in curves}) == 7
    assert len({curve.get_marker() for curve in curves}) == 7


def test_rings_are_symmetric_and_stripes_are_not() -> None:
    along = np.arange(32) - 15.5
    radius = np.hypot(along[:, None], along).astype("f4")
    rings = np.broadcast_to(np.cos(radius / 4), (1, 3, 32, 32))
    stripes = np.broadcast_to(np.sign(along)[:, None], (1, 3, 32, 32)).astype("f4")

    assert asymmetry(rings)[0] < 0.02
    assert asymmetry(stripes)[0] > 0.98
