"""From settings to a finished run, and on from where a run stopped."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cellrot_infer.errors import DataError
from cellrot_train.config import Config, ConfigError
from cellrot_train.corrections import with_corrections
from cellrot_train.data import (
    SPLITS,
    PatchSet,
    keep_labels,
    load_patch_set,
    load_unlabelled,
    with_unlabelled,
)
from cellrot_train.display import Display, Silent
from cellrot_train.objectives import parse_objective
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.processes import (
    choose_device,
    in_turn,
    joined,
    keep_freed_memory,
    reproducible,
)
from cellrot_train.run import DATA, LAST, METRICS, Run, load_run, new_encoder
from cellrot_train.sampling import Share
from cellrot_train.training import Training

Corrections = tuple[Path, Path]  # a table or a folder of them, the folder of frames
FEWEST_PATCHES = 2  # of one alone, no feature has a spread
MAKE = {  # what the weights of an encoder depend on, by the flags that set it
    "model": "--model",
    "network_px": "--side-px and --view-px",
    "width": "--width",
    "embedding_size": "--embedding-size",
}
SAMPLES = Path(__file__).parent.parent / "tests" / "data" / "patches"


def fit(
    config: Config,
    *,
    root: Path = Path("runs"),
    name: str = "",
    corrections: Corrections | None = None,
    cache: Path | None = None,
    show: Display | None = None,
) -> Run:
    """Train as `config` says, in a new folder under `root`; return the finished run.

    Without data, the samples of the source tree are used. Cells that `corrections`
    name join them, in a patch set under `root`. `cache` keeps the decoded patches, see
    `load_pixels`. Under torchrun every process calls this; the first one reads the data
    before the others, validates, shows and writes.
    """
    device = choose_device(config.device)
    keep_freed_memory()
    with joined(device) as share, reproducible(config):
        show = Silent() if share.rank or show is None else show
        config = _complete(config, show)
        encoder = _initial(config) if config.init else None
        with in_turn(share):
            if corrections:
                config = _corrected(config, corrections, root, show)
            pixels = read_data(config, cache, show)
        run = _new_run(config, pixels, root, name, share)
        training = Training(
            run, config, pixels.on(device, config.memory_gb), device, share
        )
        training.start(encoder)
        training.finish(show)
        show.note(f"{run.folder}: trained; `cellrot-train export` makes it a model")
    return run


def resume(
    folder: Path, *, cache: Path | None = None, show: Display | None = None
) -> Run:
    """Go on with the run in `folder` from its last checkpoint; return it finished.

    Raises DataError where its patches are not those that it began with.
    """
    run = Run(Path(folder))
    config = run.config
    device = choose_device(config.device)
    keep_freed_memory()
    with joined(device) as share, reproducible(config):
        show = Silent() if share.rank or show is None else show
        if (run.folder / METRICS).exists():
            show.note(f"{run.folder}: is finished already")
            return run
        with in_turn(share):
            pixels = read_data(config, cache, show)
        known = run.read_json(DATA)["sha256"]
        if known != pixels.sha256:
            raise DataError(
                f"{run.folder}: the patches in {config.data} have changed since the "
                "run began; start a new run"
            )
        training = Training(
            run, config, pixels.on(device, config.memory_gb), device, share
        )
        if (run.folder / LAST).exists():
            training.resume()
        else:  # it was stopped before its first checkpoint
            training.start(_initial(config) if config.init else None)
        training.finish(show)
        show.note(f"{run.folder}: trained; `cellrot-train export` makes it a model")
    return run


def fit_once(
    config: Config, *, root: Path, name: str, show: Display | None = None
) -> Run:
    """Return the run `name` of `config` under `root`, trained if it is not yet.

    One that was cut off goes on from its last checkpoint. Raises DataError where it was
    trained with other settings.
    """
    run, show = Run(root / f"{name}-{config.model}"), show or Silent()
    if not (run.folder / LAST).exists():
        if run.folder.exists():
            shutil.rmtree(run.folder)  # it stopped before the first checkpoint
        show.note(f"{run.folder.name}: training")
        return fit(config, root=root, name=name, show=show)
    _refuse_other(run, config)
    if (run.folder / METRICS).exists():
        return run
    show.note(f"{run.folder.name}: training goes on")
    return resume(run.folder, show=show)


def _refuse_other(run: Run, config: Config) -> None:
    """Raise DataError where `run` was trained with other settings than `config`."""
    known, wanted = run.config.to_dict(), _placed(config).to_dict()
    wanted["device"] = known["device"]
    if changed := [name for name in wanted if known[name] != wanted[name]]:
        raise DataError(
            f"{run.folder}: was trained with other {', '.join(changed)}; ask for the "
            "same settings again, or for another folder"
        )


def read_data(config: Config, cache: Path | None, show: Display) -> Pixels:
    """Return the patches that `config` names, with the labels that it keeps."""
    patch_set = load_patch_set(Path(config.data))
    if config.labels_per_class:
        patch_set = keep_labels(patch_set, config.labels_per_class, config.seed)
    if config.unlabelled:
        patch_set = with_unlabelled(patch_set, load_unlabelled(Path(config.unlabelled)))
    _refuse_unlabelled(patch_set, config)
    pixels = load_pixels(patch_set, config.side_px, cache, show.decoded)
    for file, reason in pixels.unreadable:
        show.note(f"left out {file}: {reason}")
    _refuse_too_few(pixels.patch_set)
    return pixels


def describe(pixels: Pixels, config: Config) -> dict[str, Any]:
    """Return what data.json keeps of the patches."""
    patch_set = pixels.patch_set
    return {
        "path": config.data,
        "sha256": pixels.sha256,
        "class_names": list(patch_set.class_names),
        "counts": {split: len(patch_set.indices(split)) for split in SPLITS},
        "labelled": int((patch_set.labels >= 0).sum()),
        "pixel_size_um": pixels.pixel_size_um(config.pixel_size_um),
        "unreadable": dict(pixels.unreadable),
    }


def _complete(config: Config, show: Display) -> Config:
    """Return the settings with the places that they leave open."""
    parse_objective(config.objective)  # refuse now, not after the decoding
    if not config.data:
        if not SAMPLES.is_dir():
            raise DataError("no patches: give --data DIR (class folders or index.csv)")
        show.note(f"no --data: training on the samples in {SAMPLES}")
    return _placed(replace(config, data=config.data or str(SAMPLES)))


def _placed(config: Config) -> Config:
    """Return the settings with absolute paths, as a run keeps them."""
    return replace(
        config,
        data=_absolute(config.data),
        unlabelled=_absolute(config.unlabelled),
        init=_absolute(config.init),
    )


def _corrected(
    config: Config, corrections: Corrections, root: Path, show: Display
) -> Config:
    """Return the settings with the patch set that holds the corrected cells too."""
    found = with_corrections(
        Path(config.data), *corrections, root, patch_pixel_um=config.pixel_size_um
    )
    show.note(f"{found.folder}: {found.cells} corrected cells join the patches")
    if found.new_classes:
        show.note(
            f"new classes, from corrections alone: {', '.join(found.new_classes)}"
        )
    return replace(config, data=str(found.folder))


def _absolute(place: str) -> str:
    return str(Path(place).resolve()) if place else ""


def _new_run(
    config: Config, pixels: Pixels, root: Path, name: str, share: Share
) -> Run:
    """Make the folder in the first process and tell the others which it is."""
    folder = [""]
    if not share.rank:
        run = Run.create(root, name, config)
        run.write_json(DATA, describe(pixels, config))
        folder = [str(run.folder)]
    if share.world > 1:
        torch.distributed.broadcast_object_list(folder)
    return Run(Path(folder[0]))


def _refuse_unlabelled(patch_set: PatchSet, config: Config) -> None:
    if "supervised" in parse_objective(config.objective) and not patch_set.class_names:
        raise DataError(
            f"{patch_set.root}: has no labels, which the objective {config.objective} "
            "needs; try --objective reconstruction or contrastive"
        )


def _refuse_too_few(patch_set: PatchSet) -> None:
    count = len(patch_set.indices("train"))
    if count < FEWEST_PATCHES:
        raise DataError(
            f"{patch_set.root}: patches to train on: {count}, "
            f"expected at least {FEWEST_PATCHES}"
        )


def _initial(config: Config) -> torch.nn.Module:
    """Return the encoder to begin with; raise ConfigError where it does not fit."""
    start = load_run(Path(config.init))
    if _shapes(start.encoder) != _shapes(new_encoder(config)):
        before = start.config
        others = [
            name for name in MAKE if getattr(before, name) != getattr(config, name)
        ]
        told = (
            f"{name} {getattr(before, name)}, expected {getattr(config, name)}"
            for name in others
        )
        flags = " and ".join(MAKE[name] for name in others)
        raise ConfigError(
            f"init: {config.init} was trained with {'; '.join(told)}; give {flags} as "
            "that run has"
        )
    return start.encoder


def _shapes(encoder: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in encoder.state_dict().items()}
