"""A run that is killed or runs out of disk ends, resumed, as one that was not."""

import random
import signal
import sys
from pathlib import Path

import pytest

from cellrot_infer.journal import Journal
from tests.conftest import write_model
from tests.e2e.killing import (
    at_fsync,
    finish,
    kills,
    outputs,
    small_slides,
    start,
    timed,
    written_at,
)

SLIDES, FRAMES = 2, 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_slides(tmp_path_factory.mktemp("inputs"), SLIDES, FRAMES)


@pytest.fixture(scope="module")
def whole(
    inputs: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], str, float]:
    """Return the files and the data of a run without a break, and its duration."""
    out = tmp_path_factory.mktemp("whole")
    (status, data, err), seconds = timed(start(inputs, out, model))
    assert (status, "Traceback" in err) == (0, False)
    return outputs(out), data, seconds


Whole = tuple[dict[str, bytes], str, float]


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_ends_with_the_same_files(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path
) -> None:
    rng = random.Random(7)

    left = list(kills(inputs, tmp_path / "out", model, 1.2 * whole[2], rng))

    assert outputs(tmp_path / "out") == whole[0]
    assert all(kill.unfinished <= 1 for kill in left)
    assert [kill.kept for kill in left] == sorted(kill.kept for kill in left)


@pytest.mark.parametrize("number", [1, 4, 20])  # two are of frames, one of a slide
def test_a_run_that_is_killed_as_it_writes_a_file_ends_with_the_same_files(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    limit = at_fsync(number, "os.kill(os.getpid(), 9)")

    killed = finish(start(inputs, out, model, limit=limit))
    parts = list(out.rglob("*.part"))
    resumed = finish(start(inputs, out, model, "--resume"))

    assert killed[0] != 0
    assert len(parts) == 1
    assert resumed[0] == 0
    assert outputs(out) == whole[0]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_run_that_is_stopped_goes_on(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path, number: int, status: int
) -> None:
    out = tmp_path / "out"
    in_the_second_slide = at_fsync(28, f"os.kill(os.getpid(), {number:d})")

    stopped = finish(start(inputs, out, model, limit=in_the_second_slide))
    parts = list(out.rglob("*.part"))
    times = written_at(out)
    with Journal(out) as journal:
        kept = journal.images_done()
    resumed = finish(start(inputs, out, model, "--resume"))

    assert (stopped[0], parts) == (status, [])
    assert FRAMES < kept <= len(times.items() & written_at(out).items())
    assert "--resume goes on from there" in stopped[2]
    assert "Traceback" not in stopped[2]
    assert (resumed[0], resumed[1]) == (0, whole[1])
    assert outputs(out) == whole[0]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("most_bytes", [20_000, 110_000])
def test_a_run_without_room_for_its_files_goes_on(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path, most_bytes: int
) -> None:
    out = tmp_path / "out"
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({most_bytes},) * 2)"

    full = finish(start(inputs, out, model, limit=limit))
    counted = list(out.rglob("*.geojson"))
    resumed = finish(start(inputs, out, model, "--resume"))

    assert full[0] == 1
    assert full[2].splitlines()[-1].startswith("error: ")
    assert "cannot be written" in full[2]
    assert "rollback" not in full[2]  # but why there was one
    assert ("--resume goes on" in full[2]) == bool(counted)
    assert "Traceback" not in full[2]
    assert (resumed[0], resumed[1]) == (0, whole[1])
    assert outputs(out) == whole[0]


@pytest.mark.parametrize("number", [0, 3, 19])  # two are of frames, one of a slide
def test_a_run_without_room_for_one_of_its_files_goes_on(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    fault = "os.ftruncate(file, 9); raise OSError(28, 'No space left on device')"

    full = finish(start(inputs, out, model, limit=at_fsync(number, fault)))
    complete = outputs(out).items() <= whole[0].items()
    resumed = finish(start(inputs, out, model, "--resume"))

    assert (full[0], complete) == (1, True)
    told = full[2].splitlines()[-1]
    assert "cannot be written (No space left on device); --resume goes on" in told
    assert "Traceback" not in full[2]
    assert (resumed[0], resumed[1]) == (0, whole[1])
    assert outputs(out) == whole[0]


@pytest.mark.slow
def test_a_finished_run_is_found_to_be_one_before_the_model_is_loaded(
    inputs: Path, model: Path, whole: Whole, tmp_path: Path
) -> None:
    finish(start(inputs, tmp_path / "out", model))
    fail = "from cellrot_infer.classify import Classifier; del Classifier.load"

    again = finish(start(inputs, tmp_path / "out", model, "--resume", limit=fail))

    assert (again[0], again[1]) == (0, whole[1])
