"""The command `cellrot-infer`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cellrot_infer.errors import CellrotError
from cellrot_infer.models import DEFAULT_MODEL

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Parameters are declared once here, so that every command spells them alike.
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER...",
        help="PNG, JPEG, TIFF, WebP or BMP images. A folder is one slide.",
        show_default=False,
    ),
]
Reports = Annotated[str, typer.Option("--report", help="csv,json,html,geojson,overlay")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the report files.")]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model's name, or an .onnx file.")
]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        min=0.01,
        max=10,
        help="Micrometres on the slide per pixel. [default: from the file, "
        "else from the red cells]",
        show_default=False,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="What runs the model."),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Processors to use; 0 for all.")
]


@app.callback()
def cellrot() -> None:
    """Count and classify the blood and bone marrow cells of microscope images."""


@app.command()
def slide(
    inputs: Inputs,
    *,
    report: Reports = "csv",
    out: Out = Path(),
    model: Model = DEFAULT_MODEL,
    pixel_size: PixelSize = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Count the cells of each image or folder and write its report."""
    from cellrot_infer import run  # deferred: --help stays instant

    kinds = report_kinds(report)
    request = run.Request(inputs, kinds, out, model, pixel_size, device, threads)
    raise typer.Exit(run.run_slides(request))


def report_kinds(text: str) -> tuple[str, ...]:
    """Return the report kinds named in a comma list; raise BadParameter on others."""
    from cellrot_infer.outputs import KINDS

    named = dict.fromkeys(kind.strip() for kind in text.split(","))
    if strange := [kind for kind in named if kind not in KINDS]:
        raise typer.BadParameter(
            f"{strange[0]!r} is no report; there are {', '.join(KINDS)}",
            param_hint="--report",
        )
    return tuple(named)


def main() -> None:
    """Run the command; a user's error is one line on stderr and exit status 1."""
    try:
        app()
    except CellrotError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
