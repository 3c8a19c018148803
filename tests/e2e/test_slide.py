"""`cellrot-infer slide` as users run it: a process, the shipped model, real frames."""

import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.infer.images import FRAMES

COMMAND = [sys.executable, "-c", "from cellrot_infer.cli import main; main()"]
# The cell in the middle of each field, by the name that PBC gave the file.
KINDS = {
    "BA": {"basophil"},
    "BNE": {"band_neutrophil", "segmented_neutrophil"},
    "EO": {"eosinophil"},
    "LY": {"lymphocyte"},
    "MO": {"monocyte"},
}


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "slide", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def run(*arguments: object, folder: Path) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr."""
    process = start(*arguments, folder=folder)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_command_counts_the_cells_of_a_frame(tmp_path: Path) -> None:
    image = tmp_path / "Größe" / "Präparat ä.jpg"
    image.parent.mkdir()
    shutil.copy(FRAMES / "bccd" / "BloodImage_00007.jpg", image)

    status, out, err = run(image, "--report", "csv", folder=tmp_path)

    assert (status, "Traceback" in err) == (0, False)
    cells = rows(tmp_path / "Präparat ä.cells.csv")
    shares = rows(tmp_path / "Präparat ä.differential.csv")
    assert len(cells) == sum(int(share["count"]) for share in shares) >= 1
    assert len(out.splitlines()) == len(shares) + 1


def test_the_shipped_model_knows_the_cells_of_its_own_laboratory(
    tmp_path: Path,
) -> None:
    status, _, _ = run(FRAMES / "pbc_fields", "--pixel-size", 0.1, folder=tmp_path)

    assert status == 0
    cells = rows(tmp_path / "pbc_fields.cells.csv")
    right = Counter(
        cell["label"] in KINDS[cell["frame"].split("_")[0]] for cell in cells
    )
    assert right[True] >= 5
    assert right[False] <= 1


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(FRAMES / "pbc_fields", "--out", tmp_path / name, folder=tmp_path)

    for ending in ("cells.csv", "differential.csv"):
        one, two = (tmp_path / n / f"pbc_fields.{ending}" for n in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_reader_that_goes_away_does_not_stop_the_run(
    tmp_path: Path, tiny_model: Path
) -> None:
    frames = [FRAMES / "bccd" / f"BloodImage_0000{n}.jpg" for n in (5, 6, 7)]
    process = start(*frames, "--model", tiny_model, folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=60) == 0
    assert "Traceback" not in said
    assert "Error" not in said
    assert len(list(tmp_path.glob("*.cells.csv"))) == 3
