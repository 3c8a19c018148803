"""The study from start to end: every training, then val, then test once, then words.

Whatever is finished is kept and never done again, so that a study that was stopped
goes on with the same command.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellrot_infer.files import make_folder
from cellrot_infer.types import PATCH_SIDE_PX, Patches
from cellrot_train import fit as fitting
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.data import SPLITS, PatchSet, load_patch_set
from cellrot_train.display import Display, Silent
from cellrot_train.likeness import THUMB_SIDE_PX, find_pairs
from cellrot_train.pixels import Pixels, decode_patches, load_patches, load_pixels
from cellrot_train.portrait import shown_cells
from cellrot_train.processes import choose_device
from cellrot_train.readout import averaged, kept_small, model_of_encoder, whitened
from cellrot_train.run import load_run, new_encoder, versions
from cellrot_train.study import handmade
from cellrot_train.study.figures import RUNS, write_figures
from cellrot_train.study.measure import (
    Subject,
    mapped_rows,
    measure_final,
    measure_val,
)
from cellrot_train.study.page import write_page
from cellrot_train.study.plan import (
    AVERAGED_TURNS,
    HANDMADE,
    WHITENING_CELLS,
    Entry,
    Plan,
    refuse_unlabelled,
)
from cellrot_train.study.record import Record, Study, open_study
from cellrot_train.training import InterruptedRunError

SHOWN_CELLS = 2


@dataclass(frozen=True)
class Bench:
    """What every entry is trained and measured with."""

    plan: Plan
    folder: Path
    pixels: Pixels
    device: torch.device
    show: Display

    @cached_property
    def unlabelled(self) -> Patches:
        """Training cells from which features are whitened, as large as all read."""
        rows = self.pixels.patch_set.indices("train")
        some = np.random.default_rng(0).permutation(rows)[:WHITENING_CELLS]
        return decode_patches(self.pixels.patch_set, some.tolist(), self.read_px)

    @property
    def read_px(self) -> int:
        """The side at which cells are read: turning them takes more than training."""
        return min(2 * self.plan.side_px, PATCH_SIDE_PX)


def compare(
    plan: Plan,
    folder: Path,
    *,
    final: bool = True,
    device: str = "auto",
    show: Display | None = None,
) -> Study:
    """Do what is left of `plan` in `folder`; return the study, which it has written.

    Without `final` no test cell is read: for choosing settings. Raises DataError where
    the folder holds another study.
    """
    show = show or Silent()
    sizes = plan.sizes()
    pixels = load_pixels(
        load_patch_set(Path(plan.data)), plan.side_px, None, show.decoded
    )
    refuse_unlabelled(pixels.patch_set.class_names, plan.data)
    plan = replace(plan, sha256=pixels.sha256)
    study = open_study(folder, plan, _about(pixels, sizes))
    make_folder(folder)
    bench = Bench(plan, folder, pixels, choose_device(device), show)
    try:
        val = _cells(bench, "val")
        for entry in plan.entries():
            study = _learn(study, entry, bench, val)
        study = _test(study, bench, val) if final else study
    except KeyboardInterrupt:
        raise InterruptedRunError(_last_words(folder)) from None
    except InterruptedRunError as error:
        raise InterruptedRunError(_last_words(folder)) from error
    write_page(study, folder)
    if final:
        write_figures(study, folder, _shown(bench))
    return study


def _learn(study: Study, entry: Entry, bench: Bench, val: Cells) -> Study:
    """Return the study with `entry` trained, and measured on validation cells."""
    if entry.key in study.records:
        return study
    run, seconds = _train(entry, bench) if entry.objective else ("", 0.0)
    bench.show.note(f"{entry.key}: reading validation cells")
    found = measure_val(_subject(entry, run, bench), val)
    study = study.with_record(Record(entry, run, seconds, found))
    study.write(bench.folder)
    return study


def _test(study: Study, bench: Bench, val: Cells) -> Study:
    """Return the study with the figures of the test cells, each measured once."""
    test = _cells(bench, "test")
    if not study.labels:
        labels = tuple(test.labels[mapped_rows(test)].tolist())
        about = {**study.about, "alike_across_splits": _alike(bench.pixels)}
        study = replace(study, labels=labels, about=about)
    for entry in bench.plan.entries():
        record = study.records[entry.key]
        if record.final is None:
            bench.show.note(f"{entry.key}: reading test cells")
            subject = _subject(entry, record.run, bench)
            found = measure_final(subject, val, test, bench.plan.side_px)
            study = study.with_record(replace(record, final=found))
            study.write(bench.folder)
    return study


def _train(entry: Entry, bench: Bench) -> tuple[str, float]:
    """Return the folder of the finished training of `entry`, and what it took.

    The mean over turned copies reads the training of the entry that it is the mean of.
    """
    config = bench.plan.config(replace(entry, averaged=False), str(bench.device))
    name = f"{entry.objective.replace('*', 'x')}{'-turned' * entry.turned}-{entry.seed}"
    root = bench.folder / RUNS
    begun = time.monotonic()
    run = fitting.fit_once(config, root=root, name=name, show=bench.show)
    return run.folder.name, time.monotonic() - begun


def _subject(entry: Entry, run: str, bench: Bench) -> Subject:
    """Return `entry` ready to be measured, its features also whitened."""
    subject = _plain_subject(entry, run, bench)
    return replace(subject, model=whitened(subject.model, bench.unlabelled))


def _plain_subject(entry: Entry, run: str, bench: Bench) -> Subject:
    """Return what `entry` reads of cells, and the encoder behind it."""
    plan, device = bench.plan, bench.device
    if entry.model == HANDMADE[0]:
        return Subject(handmade.colours_and_rings(plan.side_px))
    if entry.model == HANDMADE[1]:
        rows = torch.from_numpy(bench.pixels.patch_set.indices("train"))
        images = bench.pixels.images[rows]
        return Subject(handmade.pixel_components(plan.side_px, images))
    if not run and not entry.random:
        return Subject(handmade.outer_ring(plan.side_px))
    config = plan.config(replace(entry, averaged=False))
    if entry.random:
        torch.manual_seed(entry.seed)
        encoder = new_encoder(config).eval()
    else:
        encoder = load_run(bench.folder / RUNS / run).encoder
    model = model_of_encoder(encoder, config, device)
    if entry.averaged:
        return Subject(averaged(model, AVERAGED_TURNS))
    shown = entry.seed == 0 and not entry.random
    return Subject(model, encoder, entry.reconstructs, shown)


def _cells(bench: Bench, split: str) -> Cells:
    """Return the labelled cells of `split`, as large as turning them takes."""
    cells, _ = labelled_cells(bench.pixels.patch_set, split)
    return kept_small(cells, bench.read_px)


def _shown(bench: Bench) -> Patches:
    """Return the cells whose reconstructions are shown, (M, 256, 256, 3)."""
    rows = shown_cells(bench.pixels.patch_set, "test")[:SHOWN_CELLS]
    images = load_patches(bench.pixels.patch_set, rows, PATCH_SIDE_PX)
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _about(pixels: Pixels, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page tells of data, models and versions."""
    patch_set = pixels.patch_set
    return {
        "class_names": list(patch_set.class_names),
        "cells": {split: len(patch_set.indices(split)) for split in SPLITS},
        "slides_known": bool((patch_set.slides != "").all()),
        "parameters": sizes,
        "versions": versions(),
    }


def _alike(pixels: Pixels) -> int:
    """Return how many pairs of images in different splits show the same cell."""
    patch_set: PatchSet = pixels.patch_set
    greens = load_pixels(patch_set, THUMB_SIDE_PX).images[:, 1].numpy()
    splits = [record.split for record in patch_set.records]
    pairs = find_pairs(np.ascontiguousarray(greens))
    return sum(splits[pair.first] != splits[pair.second] for pair in pairs)


def _last_words(folder: Path) -> str:
    return f"stopped; what is done is kept in {folder}, the same command goes on"
