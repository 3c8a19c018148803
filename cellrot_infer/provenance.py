"""What made a report: model, versions, device and settings."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata

from cellrot_infer.classify import Classifier
from cellrot_infer.intervals import is_confusion
from cellrot_infer.types import Provenance

LIBRARIES = ("cellrot", "numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu")
Pairs = tuple[tuple[str, str], ...]


@cache
def versions() -> Pairs:
    """Return name and version of Python and of each library that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # one of the two runtimes is absent
    return tuple(found.items())


def provenance(classifier: Classifier, settings: Pairs = ()) -> Provenance:
    """Return everything needed to get the report of `classifier` again."""
    card = classifier.card
    return Provenance(
        model=card.name,
        model_sha256=classifier.sha256,
        class_names=card.class_names,
        provider=classifier.provider,
        versions=versions(),
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        confusion=_confusion(card.metrics, len(card.class_names)),
    )


def _confusion(
    metrics: Mapping[str, object], classes: int
) -> tuple[tuple[int, ...], ...]:
    """Return the confusion matrix of the validation, empty where the card has none."""
    validation = metrics.get("val")
    rows = validation.get("confusion") if isinstance(validation, dict) else None
    return tuple(map(tuple, rows)) if is_confusion(rows, classes) else ()
