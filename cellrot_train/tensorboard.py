"""The figures of each epoch for TensorBoard, as one of its event files.

TensorBoard's own writer needs TensorBoard where one trains, and writes from a thread: a
full disk cuts a record in two. The format is small enough to be written here: records
(length, check sum, content, check sum) of TFRecord, whose contents are the messages of
event.proto and summary.proto.
"""

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from cellrot_infer.errors import OutputError
from cellrot_infer.files import make_folder

FOLDER, FILE = "tensorboard", "events.out.tfevents.cellrot"
VERSION = b"brain.Event:2"
POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed


def log(folder: Path, row: Mapping[str, float]) -> None:
    """Add a row of history.csv to the log of the run in `folder`.

    Raises OutputError where it cannot be written; the log then ends as it did before.
    """
    path = folder / FOLDER / FILE
    make_folder(path.parent)
    known = path.stat().st_size if path.exists() else 0
    now = struct.pack("<Bd", 0x09, time.time())
    step = b"\x10" + _varint(int(row["epoch"]))
    values = b"".join(_field(0x0A, _value(*figure)) for figure in row.items())
    records = b"" if known else _record(now + _field(0x1A, VERSION))
    records += _record(now + step + _field(0x2A, values))
    try:
        with path.open("ab") as file:
            file.write(records)
    except OSError as error:
        os.truncate(path, known)
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def _value(name: str, value: float) -> bytes:
    return _field(0x0A, name.encode()) + struct.pack("<Bf", 0x15, value)


def _field(tag: int, content: bytes) -> bytes:
    """Return a field of bytes; `tag` is its number and kind."""
    return bytes([tag]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return `number` in groups of seven bits, the lowest first."""
    *more, last = (number >> shift & 0x7F for shift in _shifts(number))
    return bytes([*(group | 0x80 for group in more), last])


def _shifts(number: int) -> range:
    return range(0, max(1, number.bit_length()), 7)


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked_sum(length) + content + _masked_sum(content)


def _masked_sum(content: bytes) -> bytes:
    total = crc32c(content)
    turned = (total >> 15 | total << 17) + 0xA282EAD8
    return struct.pack("<I", turned & 0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """Return the check sum of `content` (Castagnoli, as in RFC 3720)."""
    total = 0xFFFFFFFF
    for byte in content:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (POLYNOMIAL if total & 1 else 0)
    return total ^ 0xFFFFFFFF
