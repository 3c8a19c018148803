"""The command line of training: each command composes what the library does."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import track

from cellrot_infer.errors import CellrotError
from cellrot_train.config import MODELS, ConfigError, read_config, read_settings
from cellrot_train.flags import with_settings

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def cellrot_train() -> None:
    """Learn rotation-invariant representations of cells and export them to ONNX."""


def _names_a_file(name: str) -> str:
    """Return `name`; raise BadParameter where no file could be called so."""
    from cellrot_infer.writers.text import file_stem

    if name and file_stem(name) != name:
        raise typer.BadParameter(
            f"{name!r} names no file on every system, expected at most 80 letters, "
            "digits, spaces and . _ -; give a folder by --out"
        )
    return name


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings; flags overrule it."),
]
Resume = Annotated[
    Path | None, typer.Option("--resume", help="Run folder to go on with.")
]
Root = Annotated[Path, typer.Option("--out", help="Folder that gets the run's folder.")]
Name = Annotated[
    str,
    typer.Option(
        "--name", callback=_names_a_file, help="Name of the run (default: the time)."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Corrections saved from HTML reports (CSV, or a folder of them): their "
        "cells are cut from the frames and join the training cells.",
    ),
]
Frames = Annotated[
    Path | None,
    typer.Option(
        "--frames",
        help="Folder of the frames of --labels (default: where the corrections are).",
    ),
]


@app.command()
@with_settings
def fit(
    *,
    settings: Mapping[str, Any],
    config: ConfigFile = None,
    out: Root = Path("runs"),
    name: Name = "",
    resume: Resume = None,
    labels: Labels = None,
    frames: Frames = None,
) -> None:
    """Train an encoder and its classifier, and write a run folder.

    Decoded patches are kept in the cache folder of the user, so that the next run
    starts at once; the variable CELLROT_CACHE names another folder.
    """
    if resume and (settings or config or name or labels):
        raise typer.BadParameter("--resume takes its settings from the run alone")
    chosen = read_config(config, settings)
    corrections = _corrections(labels, frames)

    from cellrot_train import fit as fitting  # deferred: --help stays instant
    from cellrot_train.display import display

    with display() as show:
        if resume:
            fitting.resume(resume, show=show)
        else:
            fitting.fit(chosen, root=out, name=name, corrections=corrections, show=show)


@app.command()
def export(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder (default: the newest in runs/).")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File (default: models/NAME.onnx).")
    ] = None,
    name: Annotated[
        str,
        typer.Option(callback=_names_a_file, help="Name (default: the encoder's)."),
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="Patch set (default: that of the run).")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the model.")] = "not stated",
    credit: Annotated[str, typer.Option(help="Whose data it learned from.")] = "",
    int8: Annotated[
        bool, typer.Option("--int8", help="Convolutions in eight bits: faster.")
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Weights in half precision: smaller.")
    ] = False,
    file_format: Annotated[
        Literal["onnx", "bioimageio"],
        typer.Option("--format", help="bioimageio: a package for bioimage.io (zip)."),
    ] = "onnx",
    author: Annotated[
        list[str] | None,
        typer.Option(help="Who made the model; for bioimage.io, may be repeated."),
    ] = None,
) -> None:
    """Write a trained run as one ONNX file that inference needs nothing else for.

    With --int8 or --fp16 the file is NAME-int8.onnx or NAME-fp16.onnx. It is refused
    where macro-F1 on the validation cells falls by more than 0.3 points.
    """
    if int8 and fp16:
        raise typer.BadParameter("choose one of --int8 and --fp16")
    if (file_format == "bioimageio") != bool(author):
        raise typer.BadParameter("--format bioimageio and --author go together")
    from cellrot_infer.files import make_folder, write_bytes
    from cellrot_train import bioimageio
    from cellrot_train import export as exporting
    from cellrot_train.data import load_patch_set
    from cellrot_train.reduced import Precision
    from cellrot_train.run import load_run, newest_run

    if file_format == "bioimageio":
        bioimageio.check_terms(licence)  # before the work, not after it
    trained = load_run(run or newest_run(Path("runs")))
    patch_set = load_patch_set(data or Path(trained.data["path"]), trained.class_names)
    precision: Precision = "int8" if int8 else "fp16" if fp16 else "float32"
    full_name = "-".join([name or trained.config.model, precision][: 1 + int8 + fp16])
    terms = exporting.Terms(full_name, licence, credit)
    suffix = ".onnx" if file_format == "onnx" else ".zip"
    path = out or Path("models") / f"{terms.name}{suffix}"
    with Console(stderr=True).status("") as status:
        model, card = exporting.export(
            trained, patch_set, terms, precision=precision, note=status.update
        )
        if author:
            status.update("trying out the package")
            model = bioimageio.package(model, card, author)
    make_folder(path.parent)
    write_bytes(path, model)
    typer.echo("\n".join(exporting.summary(card)))
    tool = "bioimageio test" if author else "cellrot-infer slide"
    typer.echo(f"{path}: {len(model) / 1e6:.1f} MB; try `{tool}`")


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="Run folder, or ONNX model.")
    ],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Patch set (default: that of the run).")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"], typer.Option(help="Of the patch set.")
    ] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder (default: NAME-SPLIT).")
    ] = None,
    few_labels: Annotated[
        bool, typer.Option(help="Also probe with 5, 20 and 100 labels a class.")
    ] = True,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="What runs the model.")
    ] = "auto",
) -> None:
    """Measure a run or an ONNX file on labelled cells, upright and turned."""
    from cellrot_train import evaluate as evaluating
    from cellrot_train.evaluation import write_evaluation
    from cellrot_train.subject import open_subject
    from cellrot_train.tables import evaluation_tables

    subject = open_subject(model, device)
    cells, notes = subject.find_cells(data, split)
    with Console(stderr=True).status("") as status:
        found = evaluating.evaluate(
            subject.model, cells, few_labels=few_labels, note=status.update
        )
    folder = out or Path(f"{subject.name}-{split}")
    place = {"path": str(data or subject.data), "split": split, "sha256": cells.sha256}
    write_evaluation(found, folder, {"model": subject.about, "data": place})
    _show(*notes, *evaluation_tables(found), f"{folder}: evaluation.json and pictures")


@app.command()
def compare(
    *,
    data: Annotated[
        Path, typer.Option(help="Patch set with labels and a val and test split.")
    ],
    models: Annotated[str, typer.Option(help="Encoders.")] = ",".join(MODELS),
    objectives: Annotated[
        str,
        typer.Option(
            help="As of fit, and `semi-supervised`: few labels among many cells. "
            "Default: those of the budget."
        ),
    ] = "",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each kind.")
    ] = None,
    rival_seeds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Trainings of the harmonic nets and of the baseline trained turned, "
            "by contrast: more than --seeds sharpen what is asked of these.",
        ),
    ] = 0,
    budget: Annotated[
        Literal["small", "full"],
        typer.Option(help="small: for two cores; full: for a GPU or a night."),
    ] = "small",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Instead of the budget's.")
    ] = None,
    side_px: Annotated[
        int | None, typer.Option(help="Instead of the budget's.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file of settings of all trainings."),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(help="Read the test cells, once. --no-final: to choose settings."),
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
) -> None:
    """Compare encoders: the same data, steps and size, frozen and read alike.

    Writes study.json, study.md and figures. The same command goes on where it stopped.
    """
    from cellrot_train.compare import compare as run_study
    from cellrot_train.display import display
    from cellrot_train.study.plan import BUDGETS, Plan

    usual = BUDGETS[budget]
    settings = read_settings(config)
    try:
        plan = Plan(
            data=str(data),
            models=_names(models),
            objectives=_names(objectives) or usual.objectives,
            seeds=seeds or usual.seeds,
            rival_seeds=rival_seeds,
            epochs=epochs or usual.epochs,
            side_px=side_px or usual.side_px,
            settings=settings,
        )
    except ConfigError as error:  # wrong usage
        raise typer.BadParameter(str(error)) from None
    with display() as show:
        run_study(plan, out, final=final, device=device, show=show)
    typer.echo(f"{out}: study.md, study.json and figures")


def _names(text: str) -> tuple[str, ...]:
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Patch set.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV file of all remarks.")
    ] = None,
) -> None:
    """Tell what is wrong with a patch set; exit with 1 where it spoils any result."""
    from cellrot_infer.files import write_text
    from cellrot_train import check as checking
    from cellrot_train.data import load_patch_set
    from cellrot_train.tables import check_tables

    patch_set = load_patch_set(data)
    looks = checking.look_at(patch_set.records)
    seen = list(_track(looks, "reading images", len(patch_set)))
    remarks = checking.check(patch_set, seen)
    _show(*check_tables(patch_set, remarks))
    if out:
        write_text(out, checking.to_csv(remarks))
    if any(remark.serious for remark in remarks):
        raise typer.Exit(1)


@app.command()
def patches(
    frames: Annotated[
        list[Path], typer.Argument(metavar="FRAMES...", help="Images or folders.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="New folder of the patch set.")],
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", min=0.01, max=10, help="Micrometres a pixel of the frames."
        ),
    ] = None,
    patch_pixel_size: Annotated[
        float,
        typer.Option(min=0.01, max=10, help="Micrometres a pixel of the patches."),
    ] = 0.1,
) -> None:
    """Cut the cells of frames into a patch set without labels, as inference does."""
    from cellrot_infer.types import Failure
    from cellrot_train import cut

    found = cut.find_frames(frames)
    cutting = cut.cut_frames(
        found, out, pixel_size_um=pixel_size, patch_pixel_um=patch_pixel_size
    )
    results = list(_track(cutting, "cutting cells", len(found)))
    failures = [result for result in results if isinstance(result, Failure)]
    cells = sum(result.cells for result in results if isinstance(result, cut.CutFrame))
    for failure in failures:
        typer.echo(failure.reason, err=True)
    typer.echo(f"{out}: {cells} cells of {len(found) - len(failures)} frames")
    if failures:
        raise typer.Exit(3)


def _corrections(labels: Path | None, frames: Path | None) -> tuple[Path, Path] | None:
    """Return where the corrections are and where their frames are, None without any."""
    if labels is None:
        if frames:
            raise typer.BadParameter("--frames are those of --labels, which is missing")
        return None
    return labels, frames or (labels if labels.is_dir() else labels.parent)


def _track(items: Iterable[T], title: str, total: int) -> Iterable[T]:
    """Yield `items` with a progress bar, on a terminal only."""
    console = Console(stderr=True)
    return track(items, title, total, console=console, disable=not console.is_terminal)


def _show(*parts: RenderableType) -> None:
    console = Console()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str), highlight=False)


def main() -> None:
    """Run the command; a user's error is one line on stderr and exit status 1."""
    try:
        app()
    except CellrotError as error:
        Console(stderr=True).print(
            f"error: {error}", style="red", markup=False, soft_wrap=True
        )
        sys.exit(getattr(error, "exit_status", 1))
