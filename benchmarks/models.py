"""What each shipped model is and reaches: writes models/README.md from the files.

    python -m benchmarks.models [--data ../shared/data]

Every figure is read from the card inside the ONNX file, where `cellrot-train export`
put what it measured on that very file; the hash is that of the file as it lies here.
With the data of PBC, pictures of each model are drawn from what the file says of the
test cells, and what `benchmarks.laboratories` and `benchmarks.edge` have measured is
set beside what must be reached: in benchmarks/results/models/.
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.gallery import write_gallery
from cellrot_infer.card import ModelCard, read_model
from cellrot_infer.certificate import OTHER_ANGLES_DEG
from cellrot_infer.files import write_text
from cellrot_infer.models import DEFAULT_MODEL, models_folder, shipped_models

SHOWN_ANGLES_DEG = OTHER_ANGLES_DEG[:5]  # up to 75: the other quarters are alike
Cards = Mapping[Path, ModelCard]

HEAD = """\
# Shipped models

`cellrot-infer slide --model NAME` takes any of these; `{default}` is the default.
`make models` trains them again. Figures are macro-F1 and accuracy over the {classes}
classes on the test split, with 95 % bootstrap intervals; how far a probability moves at
quarter turns, and how many cells change class at the other angles (every 15 degrees).

| model | learned from | licence | size | macro-F1 | accuracy | calibration error | \
quarter turns | other angles |
|---|---|---|---|---|---|---|---|---|
"""

TAIL = """
Classes, in the order of the output: {names}.

No patient or slide is recorded in the data, so the splits are by cell: two cells of one
patient may be in training and in test, and all come from one laboratory. Expect less in
another; a cell unlike those of the training is reported as `unknown`. For research use
only.

## Calibration
Expected calibration error on the test split, before and after the logits were divided
by the temperature, which was fitted on the validation split. Reliability diagrams and
confusion matrices: [pictures](../benchmarks/results/models/README.md).

| model | before | after | temperature |
|---|---|---|---|
{calibration}

## Invariance
Measured on {cells} validation cells: the largest change of a probability and of the
embedding, over its mean length, at quarter turns. Then, at other angles, the share of
cells that change class, and how far the embedding moves over how far cells are apart.

| model | probability | embedding | {angles} |
|---|---|---|{bars}|
{invariance}

## Hashes
| file | SHA-256 |
|---|---|
{hashes}

## Credits
{credits}
"""


def main() -> None:
    """Write models/README.md, and the gallery where the data are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data: Path = parser.parse_args().data
    cards = {path: read_model(path)[1] for path in shipped_models()}
    write_text(models_folder() / "README.md", readme(cards))
    if (data / "pbc").is_dir():
        write_gallery(list(cards), data / "pbc")
    else:
        print(f"no pictures: {data / 'pbc'} is not here")


def readme(cards: Cards) -> str:
    """Return the text of models/README.md."""
    first = next(iter(cards.values()))
    head = HEAD.format(default=DEFAULT_MODEL, classes=len(first.class_names))
    rows = (row(path, card) for path, card in cards.items())
    tail = TAIL.format(
        names=", ".join(first.class_names),
        calibration="\n".join(map(calibration_row, cards, cards.values())),
        cells=first.certificate["cells"],
        angles=" | ".join(f"{angle}°" for angle in SHOWN_ANGLES_DEG),
        bars="|".join("---" for _ in SHOWN_ANGLES_DEG),
        invariance="\n".join(map(invariance_row, cards, cards.values())),
        hashes="\n".join(map(hash_row, cards)),
        credits="\n".join(credits_of(cards)),
    )
    return head + "\n".join(rows) + "\n" + tail


def row(path: Path, card: ModelCard) -> str:
    """Return the table row of one model."""
    test, certificate = card.metrics["test"], card.certificate
    cells = [
        f"`{path.stem}`",
        f"{card.data['counts']['train']} cells, {card.encoder}",
        card.licence,
        f"{path.stat().st_size / 1e6:.1f} MB",
        estimate(test["macro_f1"]),
        estimate(test["accuracy"]),
        f"{test['expected_calibration_error']:.3f}",
        f"{certificate['quarter_turn_max_abs']:.0e}",
        f"{100 * np.mean(certificate['flips']):.1f} %",
    ]
    return f"| {' | '.join(cells)} |"


def estimate(values: list[float]) -> str:
    """Return a value and its interval."""
    value, low, high = values
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def calibration_row(path: Path, card: ModelCard) -> str:
    """Return how well a model knows how sure it may be; an older card tells less."""
    test = card.metrics["test"]
    before, after = test.get("uncalibrated_error"), test["expected_calibration_error"]
    figures = (before, after, card.metrics.get("temperature"))
    shown = ("not told" if each is None else f"{each:.3f}" for each in figures)
    return f"| `{path.stem}` | {' | '.join(shown)} |"


def invariance_row(path: Path, card: ModelCard) -> str:
    """Return the certificate of one model."""
    found = card.certificate
    at = [found["angles_deg"].index(angle) for angle in SHOWN_ANGLES_DEG]
    turned = (f"{100 * found['flips'][k]:.1f} %, {found['spread'][k]:.3f}" for k in at)
    quarter = (found["quarter_turn_max_abs"], found["quarter_turn_embedding"])
    cells = [*(f"{value:.0e}" for value in quarter), *turned]
    return f"| `{path.stem}` | {' | '.join(cells)} |"


def hash_row(path: Path) -> str:
    """Return name and hash of a file."""
    return f"| `{path.name}` | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |"


def credits_of(cards: Cards) -> Iterator[str]:
    """Yield whose data the models learned from, each source once."""
    for credit in dict.fromkeys(card.data["credit"] for card in cards.values()):
        yield f"- {credit}"


if __name__ == "__main__":
    main()
