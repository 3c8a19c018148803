"""Tables on models: what they are, whether they hold, how fast they are."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from cellrot_infer.bench import BATCHES, measure_speeds
from cellrot_infer.card import ModelCard, read_model
from cellrot_infer.classify import Classifier
from cellrot_infer.devices import DeviceName
from cellrot_infer.errors import ModelError
from cellrot_infer.models import shipped_models
from cellrot_infer.verify import verify
from cellrot_infer.writers.text import shown

_JUSTIFY: Mapping[bool, Literal["left", "right"]] = {False: "left", True: "right"}


def models_table() -> tuple[Table, list[str]]:
    """Return a row a sound model, and what is wrong with the others."""
    columns = "model", "encoder", ">classes", ">um/px", ">macro-F1", ">MB", "sha256"
    table = _table(*columns)
    faults = []
    for path in shipped_models():
        try:
            model, card = read_model(path)
        except ModelError as error:
            faults.append(str(error))
            continue
        classes, size_mb = len(card.class_names), f"{len(model) / 1e6:.1f}"
        figures = classes, card.pixel_size_um, _macro_f1(card), size_mb
        digest = hashlib.sha256(model).hexdigest()
        _add(table, path.stem, card.encoder, *figures, digest[:12])
    return table, faults


def verification(name: str) -> tuple[Table, bool]:
    """Return the certificate of model `name` beside what is measured, and if it holds.

    Measured on the CPU, which is what certificates are made on.
    """
    table = _table("figure", ">certified", ">here", "")
    comparisons = list(verify(Classifier.load(name, device="cpu")))
    words = {True: "holds", False: "DOES NOT HOLD", None: "for comparison"}
    for each in comparisons:
        figures = f"{each.certified:.2g}", f"{each.measured:.2g}"
        _add(table, each.figure, *figures, words[each.holds])
    return table, all(each.holds is not False for each in comparisons)


def speeds_table(
    models: Sequence[Path],
    device: DeviceName,
    threads: Sequence[int],
    seconds: float,
    on_row: Callable[[], None],
) -> Table:
    """Return cells per second of `models`; call `on_row` after each measurement."""
    batches = [f">batch {batch}" for batch in BATCHES]
    table = _table("model", "provider", ">threads", *batches)
    for speed in measure_speeds(models, device, threads, seconds):
        cells = (f"{value:.0f}" for value in speed.cells_per_s)
        provider = speed.provider.removesuffix("ExecutionProvider")
        _add(table, speed.model, provider, speed.threads, *cells)
        on_row()
    return table


def _macro_f1(card: ModelCard) -> str:
    test = card.metrics.get("test")
    value = test.get("macro_f1") if isinstance(test, Mapping) else None
    if isinstance(value, Sequence) and value:
        value = value[0]  # with its interval behind it
    return f"{value:.3f}" if isinstance(value, float) else "?"


def _table(*columns: str) -> Table:
    """Return an empty table; a column that starts with `>` is aligned to the right."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        name, justify = column.removeprefix(">"), _JUSTIFY[column.startswith(">")]
        table.add_column(name, justify=justify, no_wrap=True)
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(Text(shown(str(cell))) for cell in cells))
