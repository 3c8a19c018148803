"""Frames become a report, one at a time, and what fails is in it."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cellrot_infer import Classifier, analyze, read_frame, segment
from cellrot_infer.lineages import read_scheme
from cellrot_infer.pipeline import analyze_frame, read_frames
from cellrot_infer.provenance import provenance
from cellrot_infer.types import Failure, Frame, PixelSize
from tests.conftest import tiny_card, write_model
from tests.infer.images import FRAMES

FIELDS = sorted((FRAMES / "pbc_fields").glob("*.jpg"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(write_model(tmp_path_factory.mktemp("model")), device="cpu")


def test_each_cell_that_was_found_has_a_finding(classifier: Classifier) -> None:
    frame = read_frame(FIELDS[0], pixel_size_um=0.1)

    result = analyze_frame(frame, classifier)

    assert tuple(finding.cell for finding in result.findings) == tuple(segment(frame))
    assert [f.number for f in result.findings] == [*range(1, len(result.findings) + 1)]
    patches = np.stack([*result.patches])
    assert len(patches) == len(result.findings) > 0
    expected = classifier.classify(patches).probabilities.max(axis=1)
    assert [f.probability for f in result.findings] == pytest.approx(expected.tolist())


def test_a_report_holds_every_frame_and_every_failure(classifier: Classifier) -> None:
    paths = [FIELDS[0], Path("gone.png"), FIELDS[1]]

    report = analyze(read_frames(paths, fallback_um=0.1), classifier, name="slide 7")

    assert report.name == "slide 7"
    assert [frame.name for frame in report.frames] == [FIELDS[0].name, FIELDS[1].name]
    assert report.failures == (Failure("gone.png", "gone.png: no such file"),)
    assert {finding.frame for finding in report.findings} <= {f.name for f in FIELDS}
    assert report.scheme == read_scheme()


def test_a_report_says_what_made_it(classifier: Classifier) -> None:
    made = analyze([], classifier).provenance

    assert (made.model, made.model_sha256) == ("tiny", classifier.sha256)
    assert made.provider == "CPUExecutionProvider"
    assert {"python", "cellrot", "numpy"} <= dict(made.versions).keys()
    assert made.created.endswith("+00:00")


@pytest.mark.parametrize(
    ("confusion", "kept"),
    [
        ([[9, 1, 0], [0, 8, 2], [0, 0, 5]], ((9, 1, 0), (0, 8, 2), (0, 0, 5))),
        ([[9, 1], [0, 8]], ()),
        ([[9, 1, 0], [0, 8, 2], [0, 0, 0.5]], ()),
        ("none", ()),
        (None, ()),
    ],
)
def test_the_confusion_of_the_card_is_in_the_report(
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    confusion: object,
    kept: tuple[tuple[int, ...], ...],
) -> None:
    card = tiny_card(metrics={"val": {"confusion": confusion}})
    monkeypatch.setattr(classifier, "card", card)

    assert provenance(classifier).confusion == kept


def test_frames_are_let_go_one_after_the_other(classifier: Classifier) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[Frame]:
        for path in FIELDS:
            assert sum(pixels() is not None for pixels in alive) <= 1
            frame = read_frame(path, pixel_size_um=0.1)
            alive.append(weakref.ref(frame.pixels))
            yield frame

    assert len(analyze(frames(), classifier).frames) == len(FIELDS)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (17, 9)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_frame_of_any_size_and_shade_is_analysed(
    classifier: Classifier, shape: tuple[int, int], grey: int
) -> None:
    pixels = np.full((*shape, 3), grey, np.uint8)

    result = analyze_frame(Frame("f", pixels, PixelSize(0.1, "option")), classifier)

    assert result.findings == ()


@pytest.mark.parametrize("pixel_size_um", [0.02, 0.7])
def test_a_frame_of_any_scale_is_analysed(
    classifier: Classifier, pixel_size_um: float
) -> None:
    frame = read_frame(FIELDS[0], pixel_size_um=pixel_size_um)

    analyze_frame(frame, classifier)


def test_the_same_frame_gives_the_same_findings(classifier: Classifier) -> None:
    first, second = (
        analyze_frame(read_frame(FIELDS[2]), classifier).findings for _ in range(2)
    )

    assert first == second
