"""How a run outlives kill -9: kills at random moments, and the files in the end.

    python -m benchmarks.kills [--kills 50] [--out benchmarks/results/kills.json]

A run over small frames is killed and resumed until it ends; then the next one begins,
until there were enough kills. Every file of each must be that of a run without a break,
byte for byte (the clock of the runs stands still). After each kill the journal is
compared with the files: more than one frame with files but no entry would be lost work.
"""

import argparse
import json
import platform
import random
import tempfile
from collections import Counter
from pathlib import Path

from cellrot_infer.files import make_folder, write_text
from tests.conftest import write_model
from tests.e2e.killing import Kill, kills, outputs, small_slides, start, timed

RESULT = Path(__file__).parent / "results" / "kills.json"
SLIDES, FRAMES = 4, 10


def main() -> None:
    """Kill, compare, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.kills)
    make_folder(options.out.parent)
    write_text(options.out, json.dumps(result, indent=2) + "\n")
    for key, value in result.items():
        print(f"{key:36s}{value}")


def measure(folder: Path, wanted: int) -> dict[str, object]:
    """Return what `wanted` kills have done to runs over the same inputs."""
    inputs = small_slides(folder / "inputs", SLIDES, FRAMES)
    model = write_model(folder)
    ((status, _, err), longest_s) = timed(start(inputs, folder / "whole", model))
    if status:
        raise SystemExit(err)
    whole, rng = outputs(folder / "whole"), random.Random(0)
    left: list[Kill] = []
    runs = differing = 0
    while len(left) < wanted:
        out = folder / f"run {runs}"
        left += kills(inputs, out, model, longest_s, rng)
        differing += outputs(out) != whole
        runs += 1
    return {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "images": SLIDES * FRAMES,
        "files": len(whole),
        "kills": len(left),
        "runs": runs,
        "runs_that_differ": differing,
        "kills_by_images_done": dict(sorted(Counter(k.kept for k in left).items())),
        "most_frames_without_entry": max(kill.unfinished for kill in left),
    }


if __name__ == "__main__":
    main()
