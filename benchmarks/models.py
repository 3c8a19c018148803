"""What each shipped model is and reaches: writes models/README.md from the files.

    python -m benchmarks.models

Every figure is read from the card inside the ONNX file, where `cellrot-train export`
put what it measured on that very file; the hash is that of the file as it lies here.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cellrot_infer.card import ModelCard, read_model
from cellrot_infer.files import write_text
from cellrot_infer.models import DEFAULT_MODEL

MODELS = Path(__file__).parents[1] / "models"

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

## Hashes
| file | SHA-256 |
|---|---|
"""


def main() -> None:
    """Write models/README.md."""
    cards = {path: read_model(path)[1] for path in sorted(MODELS.glob("*.onnx"))}
    names = next(iter(cards.values())).class_names
    lines = [row(path, card) for path, card in cards.items()]
    hashes = [
        f"| `{path.name}` | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |"
        for path in cards
    ]
    text = HEAD.format(default=DEFAULT_MODEL, classes=len(names))
    text += "\n".join(lines) + "\n"
    text += TAIL.format(names=", ".join(names)) + "\n".join(hashes) + "\n"
    text += "\n## Credits\n" + "\n".join(credits_of(cards)) + "\n"
    write_text(MODELS / "README.md", text)
    print(text)


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


def credits_of(cards: dict[Path, ModelCard]) -> Iterator[str]:
    """Yield whose data the models learned from, each source once."""
    for credit in dict.fromkeys(card.data["credit"] for card in cards.values()):
        yield f"- {credit}"


if __name__ == "__main__":
    main()
