"""The log is what TensorBoard reads, and a full disk leaves what was there."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellrot_infer.errors import OutputError
from cellrot_train.tensorboard import FILE, FOLDER, crc32c, log


def records(path: Path) -> Iterator[bytes]:
    """Yield the content of each record of an event file."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack_from("<Q", data)
        yield data[12 : 12 + length]
        data = data[16 + length :]


def test_the_check_sum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_every_figure_of_an_epoch_is_logged(tmp_path: Path) -> None:
    log(tmp_path, {"epoch": 1, "loss": 0.5})
    log(tmp_path, {"epoch": 300, "loss": 0.25, "val_macro_f1": 0.75})

    version, first, second = records(tmp_path / FOLDER / FILE)
    assert version.endswith(b"\x1a\x0dbrain.Event:2")
    assert first[9:11] == b"\x10\x01"
    assert second[9:12] == b"\x10\xac\x02"  # 300, seven bits a byte
    assert b"\x0a\x04loss" + struct.pack("<Bf", 0x15, 0.25) in second
    assert b"\x0a\x0cval_macro_f1" + struct.pack("<Bf", 0x15, 0.75) in second


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_told_and_leaves_the_log_of_before(tmp_path: Path) -> None:
    """A limit on the size of files refuses the write as a full disk does."""
    import resource

    log(tmp_path, {"epoch": 1, "loss": 0.5})
    path = tmp_path / FOLDER / FILE
    before = path.read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, usual[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            log(tmp_path, {"epoch": 2, "loss": 0.25})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    assert path.read_bytes() == before
