"""A sample of fields tells of a large image what the whole of it would."""

from itertools import product

import cv2
import numpy as np
import pytest

from cellrot_infer import reference
from cellrot_infer.largeimage import in_tiles
from cellrot_infer.nuclei import FAINTEST
from cellrot_infer.reference import Reference, find_reference
from cellrot_infer.tiles import Grid
from cellrot_infer.types import RGB, Frame, PixelSize
from tests.infer.stitched import stitched

UM = 0.2  # a pixel is one of the working scale, and a block 128 of them
PIXELS = stitched(1280, 1024, UM)
LIGHT, RED = (198, 201, 198), (185, 155, 162)


def learnt(pixels: RGB) -> Reference:
    image = in_tiles(Frame("a", pixels, PixelSize(UM, "option")))
    return find_reference(image, Grid.over(image.size_px, UM))


def background(kind: str) -> RGB:
    """Return glass, or glass with red cells, but no nucleus."""
    pixels = np.random.default_rng(0).normal(LIGHT, 4, (1024, 1280, 3))
    for y, x in product(range(40, 1024, 60), range(40, 1280, 60)):
        if kind == "red cells":
            cv2.circle(pixels, (x, y), 18, RED, -1)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0).round(), np.uint8)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn from 16 fields of 51 um, however small the image."""
    monkeypatch.setattr(reference, "WHOLE_BLOCKS", 4)
    monkeypatch.setattr(reference, "FIELDS", 16)


def test_a_sample_tells_the_light_and_the_stain_of_the_whole(
    request: pytest.FixtureRequest,
) -> None:
    whole = learnt(PIXELS)
    request.getfixturevalue("sampled")
    sample = learnt(PIXELS)

    assert sample.glass.light == pytest.approx(whole.glass.light, abs=4)
    assert sample.known.nuclear_threshold == pytest.approx(
        whole.known.nuclear_threshold, rel=0.1
    )
    assert sample.known.nuclear_density == pytest.approx(
        whole.known.nuclear_density, abs=0.02
    )
    assert sample.known.red_cells is not None
    assert whole.known.red_cells is not None
    assert sample.known.red_cells.axis == pytest.approx(
        whole.known.red_cells.axis, abs=0.03
    )
    assert not sample.glass.slopes[1:].any()
    assert whole.glass.slopes[1:].any()


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize("kind", ["glass", "red cells"])
def test_the_few_fields_with_nuclei_are_sampled(kind: str) -> None:
    part = PIXELS[:384, :512]
    alone = learnt(part)
    pixels = background(kind)
    pixels[-384:, -512:] = part

    found = learnt(pixels)

    assert found.known.nuclear_density == pytest.approx(
        alone.known.nuclear_density, abs=0.03
    )


@pytest.mark.usefixtures("sampled")
def test_what_was_not_scanned_is_not_sampled() -> None:
    alone = learnt(PIXELS[:768, :])
    pixels = np.zeros((2048, 1280, 3), np.uint8)
    pixels[:768] = PIXELS[:768]

    found = learnt(pixels)

    assert found.known.noise.covariance == pytest.approx(alone.known.noise.covariance)


@pytest.mark.parametrize("kind", ["whole", "sampled"])
def test_a_nucleus_that_no_field_shows_can_still_be_seen(
    kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "sampled":
        request.getfixturevalue(kind)

    assert learnt(background("glass")).known.nuclear_threshold == FAINTEST
