"""Where a training runs: what it asks of the system."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from cellrot_train.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def fill():
    for _ in range(5):
        torch.empty(2**24).fill_(1)
for _ in range(4):  # until the heap has a place for all that lies between the blocks
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: str) -> int:
    """Return how many pages 5 blocks of 64 MB take from the system after 20 others."""
    command = [sys.executable, "-c", FAULTS, keep]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="concerns the C library of Linux")
def test_a_training_uses_its_freed_memory_again() -> None:
    assert faults("keep") * 10 < faults("give back")
