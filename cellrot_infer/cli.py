"""The command `cellrot-infer`."""

import io
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cellrot_infer.errors import CellrotError, ModelError, OutputError
from cellrot_infer.metadata import USABLE_UM
from cellrot_infer.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from cellrot_infer.counting import Request
    from cellrot_infer.devices import DeviceName
    from cellrot_infer.journal import Journal
    from cellrot_infer.slides import Slide
    from cellrot_infer.types import Selection

CANNOT_RUN, SOME_FAILED, TERMINATED = 1, 3, 143

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def number(value: float | None) -> float | None:
    """Return `value`; raise BadParameter for NaN, which every range lets pass."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number")
    return value


review_app = typer.Typer(no_args_is_help=True)
app.add_typer(
    review_app, name="review", help="Take what a reviewer put right into a report."
)

# Parameters are declared once here, so that every command spells them alike.
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="IMAGE|FOLDER",
        help="PNG, JPEG, TIFF, WebP or BMP images, whole slides, or patterns of them. "
        "A folder of images is one slide. @FILE is a list, as --list is.",
        show_default=False,
    ),
]
Lists = Annotated[
    list[Path] | None,
    typer.Option(
        "--list",
        metavar="FILE",
        help="A text file of inputs, one a line; may be given again.",
        show_default=False,
    ),
]
Each = Annotated[
    bool, typer.Option("--each", help="Count every image as a slide of its own.")
]
Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive",
        help="Count the folders in folders, too; reports lie as the inputs do.",
    ),
]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--restart",
        help="Go on with the run that stopped in the output folder, or begin anew.",
        show_default=False,
    ),
]
Reports = Annotated[
    str,
    typer.Option(
        "--report",
        help="Any of csv,json,html,geojson,overlay; html brings its json along.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the files.")]
Model = Annotated[
    str, typer.Option("--model", help="Name of a shipped model, or an .onnx file.")
]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="UM",
        min=USABLE_UM[0],
        max=USABLE_UM[1],
        callback=number,
        help="Micrometres on the slide per pixel; else the file or the red cells tell.",
        show_default=False,
    ),
]
Region = Annotated[
    str,
    typer.Option(
        metavar="X,Y,W,H",
        help="Count only this part: left, top, width, height in pixels of level 0.",
        show_default=False,
    ),
]
MaxCells = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Count at most N cells of each image; of a large one, from all over it.",
        show_default=False,
    ),
]
Level = Annotated[
    int,
    typer.Option(
        min=0, help="Seek cells in this smaller copy of a slide; 0 is the image itself."
    ),
]
Lineages = Annotated[
    Path | None,
    typer.Option(
        "--lineages",
        metavar="TOML",
        help="How the laboratory groups and counts classes.",
        show_default=False,
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="NAME",
        help="Group classes as the model's card does: '8 classes' or lineage.",
        show_default=False,
    ),
]
CsvLocale = Annotated[
    Literal["en", "de"],
    typer.Option("--csv-locale", help="de: semicolons and decimal commas in CSV."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="What runs it.")
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Processors to use; 0 for all.")
]

Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask cluster that counts, as tcp://host:8786; local starts one here.",
        show_default=False,
    ),
]


def show_version(asked: bool) -> None:
    """Print the version and leave, if that was asked for."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"cellrot-infer {version('cellrot')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version."
    ),
]


@app.callback()
def cellrot(*, version: Version = False) -> None:
    """Find, classify and count the cells of blood and bone marrow smears."""


@app.command()
def slide(
    inputs: Inputs = None,
    *,
    lists: Lists = None,
    each: Each = False,
    recursive: Recursive = False,
    report: Reports = "csv",
    out: Out = Path(),
    resume: Resume = None,
    model: Model = DEFAULT_MODEL,
    pixel_size: PixelSize = None,
    region: Region = "",
    level: Level = 0,
    max_cells: MaxCells = None,
    lineages: Lineages = None,
    group_by: GroupBy = "",
    csv_locale: CsvLocale = "en",
    device: Device = "auto",
    threads: Threads = 0,
    scheduler: Scheduler = "",
) -> None:
    """Count the cells of each image or folder, and write reports on them."""
    kinds, selection = report_kinds(report), selected(region, level, max_cells)
    if not inputs and not lists:
        raise typer.BadParameter("Missing argument: name images, folders or a --list")
    from cellrot_infer import lineages as schemes  # deferred: --help stays instant
    from cellrot_infer.card import read_model
    from cellrot_infer.counting import Request
    from cellrot_infer.files import make_folder
    from cellrot_infer.inputs import named_paths
    from cellrot_infer.journal import Journal
    from cellrot_infer.models import find_model
    from cellrot_infer.slides import find_slides
    from cellrot_infer.writers.csv import STYLES

    scheme = schemes.read_scheme(lineages or schemes.DEFAULT)
    if group_by:
        scheme = schemes.grouped(scheme, read_model(find_model(model))[1], group_by)
    style = STYLES[csv_locale]
    request = Request(kinds, out, scheme, pixel_size, style, selection)
    paths = named_paths(inputs or [], lists or [])
    slides = find_slides(paths, each=each, recursive=recursive)
    make_folder(out)
    with Journal(out) as journal:
        failures = _count(
            journal,
            request,
            slides,
            (model, device, threads, scheduler),
            resume=resume,
        )
    if failures:
        raise typer.Exit(SOME_FAILED)


def _count(
    journal: "Journal",
    request: "Request",
    slides: "Sequence[Slide]",
    engine: tuple[str, "DeviceName", int, str],
    *,
    resume: bool | None,
) -> int:
    """Count what is left of a run and show it; return how many images failed."""
    import cv2

    from cellrot_infer.classify import Classifier
    from cellrot_infer.cluster import Engine, connected
    from cellrot_infer.resume import take_up
    from cellrot_infer.run import Run, share_threads
    from cellrot_infer.terminal import ProgressBar, note, show_before, show_slide

    model, device, threads, scheduler = engine
    left = take_up(journal, request, slides, model, resume=resume)
    before = [lines for k, lines in journal.finished().items() if k not in left]
    show_before(before)
    if not left:
        return 0
    workers, threads = share_threads(threads, sum(len(each.images) for each in slides))
    cv2.setNumThreads(threads)  # as many as the model's: images go side by side
    classifier = Classifier.load(model, device=device, threads=threads)
    note(f"model {classifier.card.name} on the {classifier.device}")
    failures, header = 0, not any(before)
    kind = Engine.of(classifier, model, device)
    place = connected(scheduler, kind, request, workers) if scheduler else nullcontext()
    with ProgressBar(sum(map(len, left.values()))) as bar, resumable(), place as there:
        run = Run(classifier, request, journal, slides, bar, workers, there)
        for report, files in run.count(left):
            bar.clear()
            show_slide(report, files, header=header)
            failures += len(report.failures)
            header = header and not report.frames
    return failures


@app.command()
def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the camera saves frames.")
    ],
    *,
    cells: Annotated[
        int, typer.Option("--cells", min=1, help="How many are wanted, as 200 or 500.")
    ] = 200,
    stop: Annotated[
        bool, typer.Option("--stop", help="End by itself when so many are counted.")
    ] = False,
    report: Reports = "csv",
    out: Out = Path(),
    resume: Resume = None,
    model: Model = DEFAULT_MODEL,
    pixel_size: PixelSize = None,
    lineages: Lineages = None,
    csv_locale: CsvLocale = "en",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Count each frame of FOLDER as the camera saves it, until Ctrl-C; then report."""
    kinds = report_kinds(report)
    from cellrot_infer import lineages as schemes  # deferred: --help stays instant
    from cellrot_infer.classify import Classifier
    from cellrot_infer.counting import Request
    from cellrot_infer.differential import denominator
    from cellrot_infer.files import make_folder
    from cellrot_infer.journal import Journal
    from cellrot_infer.outputs import frame_endings
    from cellrot_infer.terminal import LiveCount, note, show_slide
    from cellrot_infer.watch import Arrivals, Watch
    from cellrot_infer.writers.csv import STYLES

    if frame_endings(kinds):
        raise typer.BadParameter(
            "watch writes csv, json and html", param_hint="--report"
        )
    scheme = schemes.read_scheme(lineages or schemes.DEFAULT)
    request = Request(kinds, out, scheme, pixel_size, STYLES[csv_locale])
    classifier = Classifier.load(model, device=device, threads=threads)
    note(f"model {classifier.card.name} on the {classifier.device}")
    make_folder(out)
    with Journal(out) as journal, resumable():
        watching = Watch.begin(
            Arrivals(folder), classifier, request, journal, model, resume=resume
        )
        with interrupted() as asked, LiveCount(cells) as live:
            for told in watching.frames(asked):
                counted = watching.report()
                live.show(told, counted, watching.arrivals.waiting())
                if stop and denominator(counted) >= cells:
                    break
        done, files = watching.finish()
    show_slide(done, files, header=True)
    if done.failures:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def interrupted() -> Iterator[Event]:
    """Give an event that Ctrl-C sets, so that what is in work is finished first.

    The second Ctrl-C interrupts.
    """
    asked = Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on, where a person, the system or a full disk stops the work."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        from cellrot_infer.terminal import note

        note("stopped; what is counted is kept, and --resume goes on from there")
        raise
    except OutputError as error:
        raise OutputError(f"{error}; --resume goes on where the run stopped") from None


@app.command()
def models(
    *,
    verify: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Measure the certificate of a model again on this machine.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """List the models that are there, or verify one."""
    from cellrot_infer import listing  # deferred: --help stays instant
    from cellrot_infer.terminal import note, show_table

    if verify:
        table, holds = listing.verification(verify)
        show_table(table)
        if not holds:
            raise ModelError(f"{verify} does not keep here what its card certifies")
        return
    table, faults = listing.models_table()
    show_table(table)
    for fault in faults:
        note(f"error: {fault}")
    if faults:
        raise typer.Exit(CANNOT_RUN)


@app.command()
def doctor(*, out: Out = Path()) -> None:
    """Check this workstation: libraries, device, models, write access."""
    from cellrot_infer.doctor import examine  # deferred: --help stays instant

    wrong = 0
    for check in examine(out):
        typer.echo(f"{'WRONG' if check.repair else 'ok':<6}{check.subject}: ", nl=False)
        typer.echo(check.finding)
        if check.repair:
            typer.echo(f"      repair: {check.repair}")
            wrong += 1
    if wrong:
        raise typer.Exit(CANNOT_RUN)


@app.command()
def bench(
    *,
    model: Annotated[
        str, typer.Option(help="One model only; else all that are shipped.")
    ] = "",
    device: Device = "auto",
    threads: Threads = 0,
    seconds: Annotated[
        float, typer.Option(min=0, help="Time for each measurement.")
    ] = 1.0,
) -> None:
    """Measure cells per second at batches of 1, 8 and 64, for 1 to all threads."""
    from cellrot_infer import listing  # deferred: --help stays instant
    from cellrot_infer.bench import thread_counts
    from cellrot_infer.models import find_model, shipped_models
    from cellrot_infer.terminal import ProgressBar, show_table

    chosen = [find_model(model)] if model else shipped_models()
    counts = (threads,) if threads else thread_counts()
    with ProgressBar(len(chosen) * len(counts)) as bar:
        table = listing.speeds_table(chosen, device, counts, seconds, bar.advance)
    show_table(table)


@review_app.command()
def apply(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT.json", help="As it was reviewed.")
    ],
    corrections: Annotated[
        Path,
        typer.Argument(
            metavar="CORRECTIONS.csv", help="As saved from the HTML report."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the files; else where the report is."),
    ] = None,
    csv_locale: CsvLocale = "en",
) -> None:
    """Write the corrected report, its tables, and a line a correction to its trail."""
    from cellrot_infer.files import make_folder  # deferred: --help stays instant
    from cellrot_infer.outputs import Pictures, write_slide
    from cellrot_infer.review import apply_review
    from cellrot_infer.terminal import show_slide
    from cellrot_infer.writers.csv import STYLES

    folder = report.parent if out is None else out
    make_folder(folder)
    corrected, written, trail = apply_review(report, corrections, folder)
    base, style = written.with_suffix(""), STYLES[csv_locale]
    tables = write_slide(corrected, Pictures(), ("csv",), base, style)
    show_slide(corrected, [written, trail, *tables], header=True)


@review_app.command()
def check(
    trail: Annotated[
        Path, typer.Argument(metavar="TRAIL.audit.jsonl", help="As `apply` wrote it.")
    ],
) -> None:
    """Check that no line of an audit trail was changed or taken out."""
    from cellrot_infer.audit import check_trail  # deferred: --help stays instant

    lines, last = check_trail(trail)
    typer.echo(f"{trail}: {lines} corrections, unchanged; the last hash is {last}")


def report_kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of report in a comma list; raise BadParameter on others."""
    from cellrot_infer.outputs import KINDS

    named = tuple(dict.fromkeys(kind.strip().lower() for kind in text.split(",")))
    if strange := [kind for kind in named if kind not in KINDS]:
        raise typer.BadParameter(
            f"{strange[0]!r} is no report; there are {', '.join(KINDS)}",
            param_hint="--report",
        )
    return named


def selected(region: str, level: int, max_cells: int | None) -> "Selection":
    """Return what to count; raise BadParameter where `region` is no rectangle."""
    from cellrot_infer.types import Box, Selection

    if not region:
        return Selection(None, level, max_cells)
    parts = [part.strip() for part in region.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        parts = ["0"]
    if 0 in (sides := [int(part) for part in parts])[2:] or len(sides) != 4:
        raise typer.BadParameter(
            f"{region!r} is no rectangle; expected X,Y,W,H in pixels, such as "
            "10000,8000,2000,2000",
            param_hint="--region",
        )
    return Selection(Box(*sides), level, max_cells)


def main() -> None:
    """Run the command; a user's error is one line on stderr and exit status 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        # a pipe takes the CSV of the files, whatever the console's code page
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        app()
    except CellrotError as error:
        from cellrot_infer.writers.text import shown

        typer.secho(f"error: {shown(str(error))}", fg="red", err=True)
        sys.exit(CANNOT_RUN)
